"""Tokenizers stored only as a SentencePiece model: those of Baichuan and some Llama models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from tokenizers import AddedToken, Tokenizer
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from ...errors import Errors
from ..files import TOKENIZER_FILE, CheckpointFiles
from .sentencepiece_model import convert_sentencepiece, put_at_begin

_MODEL_FILE = "tokenizer.model"
_ADDED_FILE = "added_tokens.json"

# The authors' tokenizer uses these where its settings name no others.
_SPECIAL = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<unk>"}


def is_bare_llama(files: CheckpointFiles) -> bool:
    """Tell whether a checkpoint has a Llama tokenizer that is stored only as a SentencePiece model.

    Versions of transformers read such a tokenizer differently. With version 5, texts begin with
    other ids than in the model's training.
    """
    if files.find("tokenizer.json") or not files.find(_MODEL_FILE):
        return False
    kind = files.read_json(TOKENIZER_FILE).get("tokenizer_class")
    if kind is None:
        return files.config.get("model_type") == "llama"
    return str(kind) in ("LlamaTokenizer", "LlamaTokenizerFast")


def load_sentencepiece_tokenizer(files: CheckpointFiles) -> PreTrainedTokenizerBase:
    """Load a SentencePiece model as a fast tokenizer with the same ids.

    If the settings put no begin-of-sequence token before a text (Baichuan's do not), the tokenizer
    has none, so that prompts get none.

    Raises:
        ValueError: The model is missing or cannot be converted, or an added token would get another
            id.
        ImportError: sentencepiece or protobuf isn't installed.
    """
    path = files.require(_MODEL_FILE, f"a tokenizer ({_MODEL_FILE})")
    tokenizer = convert_sentencepiece(path.read_bytes(), path)
    settings = files.read_json(TOKENIZER_FILE)
    _add_tokens(tokenizer, settings, files)
    stated = {kind: _content(settings.get(kind)) or token for kind, token in _SPECIAL.items()}
    if not settings.get("add_bos_token", True):
        del stated["bos_token"]
    if "model_max_length" in settings:
        stated["model_max_length"] = settings["model_max_length"]
    put_at_begin(tokenizer, stated.get("bos_token"))
    loaded = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        name_or_path=files.name,
        clean_up_tokenization_spaces=False,
        **stated,
    )
    return cast(PreTrainedTokenizerBase, loaded)


def _content(token: Any) -> str | None:
    """Return the text of a token from the settings, which give it as a string or a mapping."""
    return token.get("content") if isinstance(token, dict) else token


def _add_tokens(tokenizer: Tokenizer, settings: Mapping[str, Any], files: CheckpointFiles) -> None:
    """Add the tokens that the vocabulary lacks, in the order of their ids."""
    added = files.read_json(_ADDED_FILE)
    tokens = {i: AddedToken(content, normalized=False) for content, i in added.items()}
    for i, details in settings.get("added_tokens_decoder", {}).items():
        special = bool(details.get("special"))
        tokens[int(i)] = AddedToken(details["content"], normalized=False, special=special)
    for i, token in sorted(tokens.items()):
        if tokenizer.token_to_id(token.content) is None:
            tokenizer.add_tokens([token])
        found = tokenizer.token_to_id(token.content)
        if found != i:
            raise ValueError(
                Errors.P064.format(name=files.name, token=token.content, stated=i, found=found)
            )
