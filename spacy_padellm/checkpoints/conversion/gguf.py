"""GGUF files, which hold a model for llama.cpp: its weights, often quantized, and its tokenizer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import transformers
from tokenizers import Tokenizer
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from ...errors import Errors, require
from ..files import CheckpointFiles, check_complete, loading_errors
from .sentencepiece_model import convert_sentencepiece, put_at_begin

# llama.cpp's names for the kinds of tokenizers that can be read: SentencePiece's BPE, and BPE over
# bytes, as GPT-2's.
_SENTENCEPIECE, _BYTE_PAIRS = "llama", "gpt2"
# llama.cpp has SentencePiece's numbers for types of models and pieces.
_BPE, _NORMAL = 2, 1
# The largest share of its own pieces that a right tokenizer splits, as no merges lead to them.
_MOST_SPLIT = 0.05
# The special tokens by the names of their entries.
_SPECIAL = {"bos": "bos_token", "eos": "eos_token", "unknown": "unk_token", "padding": "pad_token"}


def load_gguf_model(files: CheckpointFiles, arguments: Mapping[str, Any]) -> PreTrainedModel:
    """Load the weights of a GGUF file. Quantized ones become floating point again.

    Args:
        files: The file.
        arguments: Keyword arguments of `from_pretrained`.

    Raises:
        ValueError: transformers cannot read the file, or weights are missing. Or quantization is
            asked for.
        ImportError: gguf or accelerate isn't installed.
    """
    path = _require(files)
    if "quantization_config" in arguments:
        raise ValueError(Errors.P056.format(path=path))
    # Later versions of transformers 5 leave weights quantized otherwise.
    make_config = getattr(transformers, "GgufConfig", None)
    if make_config is not None:
        arguments = {**arguments, "quantization_config": make_config(dequantize=True)}
    with loading_errors(files.name):
        model: PreTrainedModel
        model, report = AutoModelForCausalLM.from_pretrained(
            path.parent, gguf_file=path.name, output_loading_info=True, **arguments
        )
    check_complete(files.name, report["missing_keys"])
    quantizer = getattr(model, "hf_quantizer", None)
    if quantizer is not None:
        # It would take the model for a quantized one, which can be neither trained nor saved.
        quantizer.remove_quantization_config(model)
    return model


def load_gguf_tokenizer(files: CheckpointFiles) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a GGUF file.

    A SentencePiece vocabulary is made into a SentencePiece model, and converted as such a model is:
    transformers would split words otherwise than the model has learnt. It reads other tokenizers.

    Raises:
        ValueError: The tokenizer is of an unknown kind, or splits the pieces of its own vocabulary.
        ImportError: gguf isn't installed, or a package that reads SentencePiece models.
    """
    path = _require(files)
    entries = _read_entries(path)
    kind = entries.get("model")
    needed = ("tokens", "scores", "token_type") if kind == _SENTENCEPIECE else ("tokens",)
    if missing := [name for name in needed if name not in entries]:
        raise ValueError(Errors.P057.format(path=path, reason=f"it has no {missing[0]!r}"))
    tokenizer: Any
    if kind == _SENTENCEPIECE:
        tokenizer = _make_tokenizer(entries, path)
    elif kind == _BYTE_PAIRS:
        with loading_errors(files.name):
            tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    else:
        raise ValueError(Errors.P057.format(path=path, reason=f"it is of the kind {kind!r}"))
    _check_pieces(tokenizer.backend_tokenizer, entries, path)
    return cast(PreTrainedTokenizerBase, tokenizer)


def _require(files: CheckpointFiles) -> Path:
    for package in ("gguf", "accelerate"):
        require(package, f"Loading {files.name}", extra="gguf")
    return Path(files.name)


def _read_entries(path: Path) -> dict[str, Any]:
    """Read what a GGUF file says of its tokenizer."""
    from gguf import GGUFReader

    with loading_errors(str(path)):
        fields = GGUFReader(path).fields
        prefix = "tokenizer.ggml."
        return {
            name.removeprefix(prefix): _read_field(field)
            for name, field in fields.items()
            if name.startswith(prefix)
        }


def _read_field(field: Any) -> Any:
    """Read an entry. gguf's own function takes many seconds for a large vocabulary."""
    from gguf import GGUFValueType

    if field.types[0] != GGUFValueType.ARRAY:
        return field.contents()
    values = [field.parts[number] for number in field.data]
    if field.types[1] == GGUFValueType.STRING:
        return [bytes(value).decode("utf8", "replace") for value in values]
    return [value[0].item() for value in values]


def _make_tokenizer(entries: Mapping[str, Any], path: Path) -> PreTrainedTokenizerFast:
    try:
        from sentencepiece import sentencepiece_model_pb2
    except ImportError as error:
        raise ImportError(Errors.P061.format(path=path, error=error)) from error
    pieces = entries["tokens"]
    model = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]
    for piece, score, kind in zip(pieces, entries["scores"], entries["token_type"], strict=True):
        model.pieces.add(piece=piece, score=score, type=kind)
    model.trainer_spec.model_type = _BPE
    model.trainer_spec.byte_fallback = True
    model.trainer_spec.unk_piece = pieces[entries.get("unknown_token_id", 0)]
    model.normalizer_spec.add_dummy_prefix = entries.get("add_space_prefix", True)
    model.normalizer_spec.remove_extra_whitespaces = False
    tokenizer = convert_sentencepiece(model.SerializeToString(), path)
    numbers = {name: entries.get(f"{kind}_token_id") for kind, name in _SPECIAL.items()}
    if not entries.get("add_bos_token", True):
        # Prompts begin with the token if there is one.
        del numbers["bos_token"]
    special = {name: pieces[number] for name, number in numbers.items() if number is not None}
    put_at_begin(tokenizer, special.get("bos_token"))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **special
    )


def _check_pieces(tokenizer: Tokenizer, entries: Mapping[str, Any], path: Path) -> None:
    """Check that a tokenizer writes and reads back the pieces of its own vocabulary."""
    kinds = entries.get("token_type", [_NORMAL] * len(entries["tokens"]))
    own = [i for i, kind in enumerate(kinds) if kind == _NORMAL]
    texts = tokenizer.decode_batch([[i] for i in own], skip_special_tokens=False)
    # A line break before it, as the start of a text may get a space. Bytes alone are no text.
    texts = ["\n" + text for text in texts if "\N{REPLACEMENT CHARACTER}" not in text]
    encoded = [each.ids for each in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
    read = tokenizer.decode_batch(encoded, skip_special_tokens=False)
    (begin,) = tokenizer.encode_batch_fast(["\n"], add_special_tokens=False)
    found = list(zip([text[1:] for text in texts], encoded, read, strict=True))
    wrong = [text for text, _, again in found if again.strip() != text.strip()]
    split = [text for text, ids, _ in found if len(ids) > len(begin.ids) + 1]
    for some, what in ((wrong, "reads back otherwise"), (split, "splits")):
        if len(some) > _MOST_SPLIT * len(texts):
            reason = f"it {what} {len(some):,} of its own {len(texts):,} pieces, "
            reason += f"for example {some[len(some) // 2]!r}"
            raise ValueError(Errors.P057.format(path=path, reason=reason))
