"""Convert a SentencePiece model to a fast tokenizer that gives the same ids."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers.processors import TemplateProcessing

from ...errors import Errors, Warnings

# SentencePiece's numbers for the types of pieces, and for the one type of model read here.
_NORMAL, _CONTROL, _USER_DEFINED, _UNUSED = 1, 3, 4, 5
_BPE = 2

# SentencePiece writes this for a space.
_SPACE = "▁"


def convert_sentencepiece(content: bytes, path: Path) -> Tokenizer:
    """Build a fast tokenizer from a SentencePiece model of the type BPE.

    It keeps the model's order of merges, normalisation, user-defined symbols, and bytes for unknown
    characters. Its ids are those of SentencePiece, with two exceptions. A text that consists of one
    user-defined symbol gets no space before it. And a normalisation other than `identity` may
    compose combining marks differently.

    Args:
        content: The model, as in a `tokenizer.model`.
        path: The file that it comes from, which errors name.

    Returns:
        The tokenizer. Its special tokens are the control symbols.

    Raises:
        ValueError: It is no SentencePiece model, or one that cannot be converted.
        ImportError: sentencepiece or protobuf isn't installed.
    """
    try:
        from sentencepiece import SentencePieceProcessor, sentencepiece_model_pb2
    except ImportError as error:
        raise ImportError(Errors.P061.format(path=path, error=error)) from error
    model = sentencepiece_model_pb2.ModelProto()  # type: ignore[attr-defined]
    try:
        model.ParseFromString(content)
        processor = SentencePieceProcessor(model_proto=content)
        tokenizer = _convert(model)
    except Exception as error:  # protobuf and SentencePiece raise their own
        raise ValueError(Errors.P063.format(path=path, reason=error)) from error
    # The pieces of the vocabulary are a good sample of the texts that it is used on.
    pieces = [piece.piece for piece in model.pieces if piece.type in (_NORMAL, _USER_DEFINED)]
    _compare(tokenizer, processor, [piece.replace(_SPACE, " ") for piece in pieces], path)
    return tokenizer


def put_at_begin(tokenizer: Tokenizer, token: str | None) -> None:
    """Let a tokenizer put the begin-of-sequence token before a text.

    Prompts get the token without this. But whoever loads the saved tokenizer with transformers
    alone has to get the ids that the model was trained with.

    Args:
        tokenizer: The tokenizer, changed in place.
        token: The token; `None` if there is none.
    """
    number = None if token is None else tokenizer.token_to_id(token)
    if number is None:
        return
    tokenizer.post_processor = TemplateProcessing(
        single=[token, "$A"],
        pair=[token, "$A", f"{token}:1", "$B:1"],
        special_tokens=[(token, number)],
    )


def _convert(model: Any) -> Tokenizer:
    if (obstacle := _obstacle(model)) is not None:
        raise ValueError(obstacle)
    tokenizer = Tokenizer(
        models.BPE(
            {piece.piece: i for i, piece in enumerate(model.pieces)},
            _merges(model.pieces),
            unk_token=model.trainer_spec.unk_piece,
            fuse_unk=True,
            byte_fallback=model.trainer_spec.byte_fallback,
        )
    )
    symbols = _symbols(model.pieces)
    tokenizer.normalizer = _normalizer(model.normalizer_spec, symbols)
    if changed := [s for s in symbols if tokenizer.normalizer.normalize_str(s) != s]:
        raise ValueError(f"its normalisation changes its own symbol {changed[0]!r}")
    tokenizer.decoder = _decoder(model.normalizer_spec)
    # SentencePiece looks for symbols in the normalised text.
    tokenizer.add_tokens([AddedToken(s, normalized=True, special=False) for s in symbols])
    control = [piece.piece for piece in model.pieces if piece.type == _CONTROL]
    tokenizer.add_special_tokens([AddedToken(c, normalized=False, special=True) for c in control])
    return tokenizer


def _obstacle(model: Any) -> str | None:
    """Say why a model cannot be converted to a fast tokenizer; `None` if it can."""
    trained, normalized = model.trainer_spec, model.normalizer_spec
    if trained.model_type != _BPE:
        return f"it is of the type {trained.ModelType.Name(trained.model_type)}, not BPE"
    if trained.treat_whitespace_as_suffix or not normalized.escape_whitespaces:
        return "it has spaces elsewhere than before words"
    if any(piece.type == _UNUSED for piece in model.pieces):
        return "some of its pieces are marked as unused"
    if normalized.remove_extra_whitespaces and any(
        piece.type == _USER_DEFINED and " " in piece.piece for piece in model.pieces
    ):
        return "its symbols have spaces in them, while it removes spaces"
    return None


def _merges(pieces: Sequence[Any]) -> list[tuple[str, str]]:
    """List the pairs of pieces that merge, in order of precedence.

    The merge with the highest score comes first. If scores are equal, as with runs of spaces, the
    longest comes first. This has the effect of SentencePiece, which merges the leftmost pair.
    """
    characters = {piece.piece for piece in pieces if len(piece.piece) == 1}
    # User-defined symbols never merge.
    apart = {c.piece for c in pieces if c.type == _USER_DEFINED} & characters
    scores = {
        piece.piece: piece.score
        for piece in pieces
        if piece.type == _NORMAL and len(piece.piece) > 1 and apart.isdisjoint(piece.piece)
    }
    parts = (characters - apart) | scores.keys()
    merges = [
        (piece[:cut], piece[cut:])
        for piece in sorted(scores, key=lambda piece: (-scores[piece], -len(piece)))
        for cut in range(1, len(piece))
    ]
    return [(left, right) for left, right in merges if left in parts and right in parts]


def _symbols(pieces: Sequence[Any]) -> list[str]:
    """List the user-defined symbols that need an added token.

    Single characters are found without one. Symbols with spaces are never found, as SentencePiece
    replaces all spaces.
    """
    defined = [piece.piece for piece in pieces if piece.type == _USER_DEFINED]
    return [symbol for symbol in defined if len(symbol) > 1 and " " not in symbol]


def _normalizer(settings: Any, symbols: Sequence[str]) -> normalizers.Normalizer:
    steps: list[normalizers.Normalizer] = []
    if settings.precompiled_charsmap:
        steps.append(normalizers.Precompiled(settings.precompiled_charsmap))
    if settings.remove_extra_whitespaces:
        steps.append(normalizers.Replace(Regex(r"\A +"), ""))
        steps.append(normalizers.Replace(Regex(" {2,}"), " "))
    if settings.add_dummy_prefix:
        steps.append(normalizers.Prepend(_SPACE))
    steps.append(normalizers.Replace(" ", _SPACE))
    if settings.remove_extra_whitespaces:
        steps.append(normalizers.Replace(Regex(rf"{_SPACE}+\z"), ""))
    if settings.add_dummy_prefix and symbols:
        # Added symbols are normalised too before they are looked for, but must get no space.
        any_symbol = "|".join(map(re.escape, symbols))
        steps.append(normalizers.Replace(Regex(rf"\A{_SPACE}(?=(?:{any_symbol})\z)"), ""))
    return normalizers.Sequence(steps)


def _decoder(settings: Any) -> decoders.Decoder:
    steps = [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if settings.add_dummy_prefix:
        steps.append(decoders.Strip(" ", 1, 0))
    return decoders.Sequence(steps)


def _compare(tokenizer: Tokenizer, processor: Any, texts: Sequence[str], path: Path) -> None:
    """Warn if some texts still get other ids than with SentencePiece."""
    # Repeat each text after a line break, as only the start of a text may get a space before it.
    texts = [f"{text}\n{text}" for text in texts]
    found = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    expected = processor.encode(texts)
    differing = [
        text
        for text, encoding, ids in zip(texts, found, expected, strict=True)
        if encoding.ids != ids
    ]
    if differing:
        message = Warnings.W060.format(
            path=path, count=len(differing), total=len(texts), text=differing[0]
        )
        warnings.warn(message, stacklevel=3)
