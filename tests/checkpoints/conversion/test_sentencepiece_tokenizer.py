from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from sentencepiece import SentencePieceProcessor
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from spacy_padellm.checkpoints.conversion.sentencepiece_tokenizer import (
    is_bare_llama,
    load_sentencepiece_tokenizer,
)
from spacy_padellm.checkpoints.files import CheckpointFiles
from spacy_padellm.checkpoints.loading import load_causal_lm
from spacy_padellm.prompt.encoder import PromptEncoder
from spacy_padellm.prompt.template import PRESETS, TEMPLATES
from spacy_padellm.prompt.tokenization import TextEncoder
from spacy_padellm.texts import TokenizedText
from spacy_padellm.tree.causal_lm import CausalLM
from tests.checkpoints.baichuan_folders import write_tokenizer
from tests.sample_texts import CHINESE, ENGLISH, NASTY
from tests.sample_tokenizers import make_encoder
from tests.sentencepiece_models import baichuan_model
from tests.tiny_models import tiny_model

NEWLINE, SIZE = 5, 460


def prefix(encoder: PromptEncoder, text: str) -> list[int]:
    return encoder.encode(TokenizedText.split(text)).prefix


def load(folder: Path, **settings) -> PreTrainedTokenizerBase:
    return load_sentencepiece_tokenizer(CheckpointFiles(write_tokenizer(folder, **settings)))


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    return load(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def processor() -> SentencePieceProcessor:
    """What the authors' tokenizer calls on a text, and nothing else."""
    return SentencePieceProcessor(model_proto=baichuan_model())


def test_it_encodes_as_the_authors_tokenizer(tokenizer, processor):
    assert tokenizer.is_fast
    assert len(tokenizer) == processor.get_piece_size() == SIZE
    texts = [*ENGLISH, *CHINESE, *NASTY, "  a\tb\n\n   c"]
    found = [tokenizer(text, split_special_tokens=True).input_ids for text in texts]
    # Text that spells one of these is one of them in SentencePiece, too.
    assert found == processor.encode(texts)
    assert tokenizer("</s>").input_ids == [2]


def test_prompts(tokenizer, processor):
    """The zh template: no token before the text, a line break is one token, and each part has the
    ids it has in the whole.
    """
    encoder = make_encoder(TEMPLATES["zh"], {"PER": "名称"}, tokenizer)
    text = "常建良，男，\n1963年出生"
    ids = prefix(encoder, text) + encoder.branches["PER"]
    assert ids == processor.encode(f"文本:\n{text}\n指定NER标签:\n名称\n\n<数量>")
    wording = [processor.piece_to_id(piece) for piece in ("文本", ":")]
    assert prefix(encoder, "")[:3] == [*wording, NEWLINE]
    assert encoder.count_end == [NEWLINE]
    assert encoder.branches["PER"][0] == NEWLINE
    assert encoder.count_ids[0] == [*processor.encode("0"), 2]
    assert encoder.count_ids[12] == [*processor.encode("12"), NEWLINE]
    assert encoder.openers[3] == processor.encode("<第3文段>")
    assert encoder.mentions(["常建良"]) == [[*processor.encode("常建良"), 2]]


def test_no_token_comes_before_a_text(tokenizer):
    encoder = TextEncoder(tokenizer)
    assert (encoder.bos_ids, encoder.end_id) == ([], 2)
    assert (tokenizer.unk_token_id, tokenizer.pad_token_id) == (0, 0)
    # It stays a special token, which no text becomes.
    assert tokenizer.decode([1, 2], skip_special_tokens=True) == ""
    assert {1, 2}.isdisjoint(encoder.encode(["<s></s>"]).ids[0])
    assert tokenizer.model_max_length == 512


@pytest.mark.parametrize("bos_token", ["<s>", {"content": "<s>"}, None])
def test_a_tokenizer_that_puts_a_token_before_a_text(bos_token, tmp_path):
    tokenizer = load(tmp_path, add_bos_token=True, bos_token=bos_token)
    assert TextEncoder(tokenizer).bos_ids == [1]
    # So it does when transformers alone loads what is saved of it.
    tokenizer.save_pretrained(tmp_path / "saved")
    alone = AutoTokenizer.from_pretrained(tmp_path / "saved")
    plain = alone("Ada", add_special_tokens=False).input_ids
    assert alone("Ada").input_ids == [1, *plain]
    assert alone("Ada", "Ada").input_ids == [1, *plain, 1, *plain]


def test_settings_that_are_missing(tmp_path):
    """Then the authors' tokenizer puts a token before a text."""
    write_tokenizer(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    encoder = TextEncoder(load_sentencepiece_tokenizer(CheckpointFiles(str(tmp_path))))
    assert (encoder.bos_ids, encoder.end_id) == ([1], 2)


def test_added_tokens(tmp_path):
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<x>": SIZE + 1, "<pad>": SIZE}))
    special = {"content": "<y>", "special": True}
    tokenizer = load(
        tmp_path, pad_token="<pad>", added_tokens_decoder={"2": {"content": "</s>"}, "462": special}
    )
    assert tokenizer.convert_tokens_to_ids(["<pad>", "<x>", "<y>"]) == [SIZE, SIZE + 1, SIZE + 2]
    assert tokenizer.pad_token_id == SIZE
    assert len(tokenizer) == SIZE + 3
    encoder = TextEncoder(tokenizer)
    assert encoder.encode_wording("<x>") == [SIZE + 1]
    assert {SIZE, SIZE + 2}.isdisjoint(encoder.encode(["<pad><y>"]).ids[0])


@pytest.mark.parametrize(
    "token, stated, found", [("<x>", SIZE + 2, SIZE), ("</s>", 3, 2), ("\n", 13, NEWLINE)]
)
def test_added_tokens_of_another_vocabulary(token, stated, found, tmp_path):
    (tmp_path / "added_tokens.json").write_text(json.dumps({token: stated}))
    with pytest.raises(
        ValueError, match=rf"\[P064\].*the id {found} with.*settings say {stated}\."
    ):
        load(tmp_path)


def test_no_tokenizer(tmp_path):
    with pytest.raises(ValueError, match=r"P041.*a tokenizer \(tokenizer\.model\) is missing"):
        load_sentencepiece_tokenizer(CheckpointFiles(str(tmp_path)))


# Llama-2 as it was first released: nothing but its SentencePiece model


@pytest.fixture(scope="module", params=["settings", "no settings"])
def llama2(request, tmp_path_factory, shared_tokenizers: Path) -> CausalLM:
    """A tiny model with the real tokenizer's file, loaded as a checkpoint is."""
    folder = tmp_path_factory.mktemp("llama2")
    shutil.copy(shared_tokenizers / "llama2" / "tokenizer.model", folder)
    tiny_model("llama", vocab_size=32000).save_pretrained(folder)
    if request.param == "settings":
        settings = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True}
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return load_causal_lm(str(folder))


def test_prompts_of_llama_2_have_the_same_ids_whatever_version_reads_them(llama2: CausalLM):
    """A prompt of the paper's, written out: one token begins it, a line break is 13."""
    preset = PRESETS["conll03"]
    encoder = make_encoder(preset.template, preset.labels, llama2.tokenizer)
    text = [29967, 3301, 2190, 16646, 8713, 2849, 869]
    branch = [13, 10041, 1134, 29901, 13, 16652, 13, 13, 29966, 1949, 29958]
    assert prefix(encoder, "JAPAN beat Syria .") == [1, 1426, 29901, 13, *text]
    assert encoder.branches["LOC"] == branch
    assert encoder.count_ids[1] == [29896, 13] and encoder.count_ids[0] == [29900, 2]
    assert encoder.openers[1] == [29966, 358, 291, 29871, 29896, 29958]
    assert encoder.mentions(["JAPAN"]) == [[29967, 3301, 2190, 2]]


def test_tokenizers_of_llamas_in_another_form_are_left_to_transformers(tmp_path: Path):
    settings = {"tokenizer_class": "LlamaTokenizer"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    assert not is_bare_llama(CheckpointFiles(str(tmp_path)))
    (tmp_path / "tokenizer.model").write_bytes(baichuan_model())
    assert is_bare_llama(CheckpointFiles(str(tmp_path)))
    (tmp_path / "tokenizer.json").write_text("{}")
    assert not is_bare_llama(CheckpointFiles(str(tmp_path)))
    (tmp_path / "tokenizer.json").unlink()
    settings = {"tokenizer_class": "CodeLlamaTokenizer"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    assert not is_bare_llama(CheckpointFiles(str(tmp_path)))
