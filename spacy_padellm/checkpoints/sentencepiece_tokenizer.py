"""Tokenizers that are nothing but a SentencePiece model: Baichuan's, and bare ones of Llamas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from tokenizers import AddedToken, Tokenizer
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from ..errors import Errors
from .files import read_json
from .locations import TOKENIZER_FILE, find_file
from .options import LoadOptions
from .sentencepiece_model import convert_sentencepiece

MODEL_FILE = "tokenizer.model"
FAST_FILE = "tokenizer.json"
ADDED_FILE = "added_tokens.json"

# As the authors' tokenizer has them where its settings name no others.
_SPECIAL = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<unk>"}


def is_bare_llama(name: str, options: LoadOptions) -> bool:
    """name (str): A folder or hub id.
    options (LoadOptions): Which revision of a hub id, and whether it may be fetched.
    RETURNS (bool): Whether it has a Llama's tokenizer in no other form. Versions of transformers
        read such a one differently: 5 begins a text with other ids than the model was trained on.
    """
    if find_file(name, FAST_FILE, options) or not find_file(name, MODEL_FILE, options):
        return False
    kind = read_json(name, TOKENIZER_FILE, options).get("tokenizer_class")
    if kind is None:
        return read_json(name, "config.json", options).get("model_type") == "llama"
    return str(kind) in ("LlamaTokenizer", "LlamaTokenizerFast")


def load_sentencepiece_tokenizer(name: str, options: LoadOptions) -> PreTrainedTokenizerBase:
    """Load a SentencePiece model as a fast tokenizer with the same ids. If its settings put no
    begin-of-sequence token before a text (Baichuan's do not), it has none, so that prompts get
    none.

    name (str): A folder or hub id.
    options (LoadOptions): Which revision of a hub id, and whether it may be fetched.
    RETURNS (PreTrainedTokenizerFast): The tokenizer.
    RAISES (ValueError): It is missing, or cannot be converted.
    RAISES (ImportError): sentencepiece or protobuf isn't installed.
    """
    path = find_file(name, MODEL_FILE, options)
    if path is None:
        raise ValueError(Errors.P041.format(name=name, missing=f"a tokenizer ({MODEL_FILE})"))
    settings = read_json(name, TOKENIZER_FILE, options)
    tokenizer = convert_sentencepiece(path)
    _add_tokens(tokenizer, _added_tokens(settings, read_json(name, ADDED_FILE, options)), name)
    special = {kind: _content(settings.get(kind)) or token for kind, token in _SPECIAL.items()}
    if not settings.get("add_bos_token", True):
        del special["bos_token"]
    length = {key: settings[key] for key in ("model_max_length",) if key in settings}
    loaded = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        name_or_path=name,
        clean_up_tokenization_spaces=False,
        **special,
        **length,
    )
    return cast(PreTrainedTokenizerBase, loaded)


def _content(token: Any) -> str | None:
    """RETURNS (Optional[str]): A token that settings state, whether as a string or with details."""
    return token.get("content") if isinstance(token, dict) else token


def _added_tokens(settings: Mapping[str, Any], added: Mapping[str, int]) -> dict[int, AddedToken]:
    tokens = {i: AddedToken(content, normalized=False) for content, i in added.items()}
    for i, details in settings.get("added_tokens_decoder", {}).items():
        special = bool(details.get("special"))
        tokens[int(i)] = AddedToken(details["content"], normalized=False, special=special)
    return tokens


def _add_tokens(tokenizer: Tokenizer, tokens: Mapping[int, AddedToken], name: str) -> None:
    """Add those that the vocabulary does not have, in the order of their ids."""
    for i, token in sorted(tokens.items()):
        if tokenizer.token_to_id(token.content) is None:
            tokenizer.add_tokens([token])
        found = tokenizer.token_to_id(token.content)
        if found != i:
            raise ValueError(
                Errors.P064.format(name=name, token=token.content, stated=i, found=found)
            )
