"""The tokenizers the core is tested with: fast and slow, real and trained on the spot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

import pytest
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import (
    AutoTokenizer,
    ByT5Tokenizer,
    GPT2Tokenizer,
    LlamaTokenizer,
    LlamaTokenizerFast,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from spacy_padellm.checkpoints.conversion.sentencepiece_tokenizer import (
    load_sentencepiece_tokenizer,
)
from spacy_padellm.checkpoints.files import CheckpointFiles
from spacy_padellm.checkpoints.small_lm import train_tokenizer
from spacy_padellm.prompt.encoder import PromptEncoder
from spacy_padellm.prompt.template import TEMPLATES, PromptTemplate
from tests.checkpoints.baichuan_folders import write_tokenizer
from tests.sample_texts import CHINESE, ENGLISH

TRANSFORMERS_5 = int(transformers.__version__.split(".")[0]) >= 5
WORDINGS = {
    "en": {"PER": "PER", "LOC": "location", "ORG": "ORG"},
    "zh": {"NAME": "名称", "ORG": "公司", "LOC": "籍贯"},
}
MAX_MENTIONS = 12


@cache
def small_tokenizer(lang: str) -> PreTrainedTokenizerFast:
    texts = ENGLISH + CHINESE
    wordings = WORDINGS[lang].values()
    return train_tokenizer(texts, TEMPLATES[lang], wordings, MAX_MENTIONS, vocab_size=420)


def _folder(request: pytest.FixtureRequest, name: str) -> str:
    return str(request.getfixturevalue("shared_tokenizers") / name)


def _baichuan(request: pytest.FixtureRequest) -> PreTrainedTokenizerBase:
    folder = request.getfixturevalue("tmp_path_factory").mktemp("baichuan")
    return load_sentencepiece_tokenizer(CheckpointFiles(write_tokenizer(folder)))


_LOADERS: dict[str, Callable[[pytest.FixtureRequest], PreTrainedTokenizerBase]] = {
    "small-en": lambda request: small_tokenizer("en"),
    "small-zh": lambda request: small_tokenizer("zh"),
    "llama2": lambda request: LlamaTokenizerFast.from_pretrained(_folder(request, "llama2")),
    "llama2-auto": lambda request: AutoTokenizer.from_pretrained(_folder(request, "llama2")),
    "gpt2": lambda request: (
        GPT2Tokenizer.from_pretrained(_folder(request, "gpt2"))
        if TRANSFORMERS_5
        else AutoTokenizer.from_pretrained(_folder(request, "gpt2"))
    ),
    "baichuan": _baichuan,
    # Slow in both versions, and needs no file.
    "byt5": lambda request: ByT5Tokenizer(),
}
if not TRANSFORMERS_5:
    # Version 5 has only fast ones of these.
    _LOADERS |= {
        "llama2-slow": lambda request: LlamaTokenizer.from_pretrained(_folder(request, "llama2")),
        "gpt2-slow": lambda request: GPT2Tokenizer.from_pretrained(_folder(request, "gpt2")),
    }
TOKENIZERS = tuple(_LOADERS)
_loaded: dict[str, PreTrainedTokenizerBase] = {}


def load_tokenizer(name: str, request: pytest.FixtureRequest) -> PreTrainedTokenizerBase:
    """Each of them once: reading Llama-2's takes long."""
    if name not in _loaded:
        _loaded[name] = _LOADERS[name](request)
    return _loaded[name]


def make_encoder(
    template: PromptTemplate,
    labels: Mapping[str, str],
    tokenizer: PreTrainedTokenizerBase,
    max_mentions: int = 30,
    max_mention_tokens: int = 16,
) -> PromptEncoder:
    """A prompt encoder with the limits that are the default."""
    return PromptEncoder(
        template,
        labels,
        tokenizer,
        max_mentions=max_mentions,
        max_mention_tokens=max_mention_tokens,
    )


def added_tokens_tokenizer() -> PreTrainedTokenizerBase:
    """A tokenizer with tokens added that are not special."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(small_tokenizer("zh").backend_tokenizer.to_str()),
        eos_token="</s>",
    )
    added = ("<num>", "[DNA]", "Paris", "\n", "\n\n")
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in added])
    return tokenizer


def lower_casing_tokenizer() -> PreTrainedTokenizerBase:
    """As BERT's: lower case, accents stripped, no space kept, an unknown token."""
    words = ["[UNK]", "[CLS]", "[SEP]", "[", "]", "cls", "sep", "paris", "in", "##s", ":", "-"]
    tokenizer = Tokenizer(
        models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]")
    )
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        eos_token="[SEP]",
    )


def special_ids(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    added = tokenizer.added_tokens_decoder.items()
    return {i for i, token in added if token.special} | set(tokenizer.all_special_ids)


def decode(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    return tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def stretch(tokenizer: PreTrainedTokenizerBase, before: list[int], ids: list[int]) -> str:
    """What ids say behind others; alone, SentencePiece would drop a space they begin with."""
    start, whole = decode(tokenizer, before), decode(tokenizer, [*before, *ids])
    assert whole.startswith(start)
    return whole[len(start) :]
