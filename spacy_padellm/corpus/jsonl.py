"""The package's own JSON lines: texts with their tokens, mentions and annotated labels."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import Errors
from ..texts import AnnotatedText, Mention, TokenizedText
from .boundaries import Offsets
from .lines import NumberedText, check_encodable, numbered_json

_REQUIRED = ("text", "tokens", "mentions")
_OPTIONAL = ("labels",)
_MENTION = ("start", "end", "label")


def parse_jsonl(path: Path) -> list[NumberedText]:
    """Read a file of the package's JSON lines.

    path (Path): The file.
    RETURNS (List[NumberedText]): The texts with the number of their line.
    RAISES (ValueError): If a line is malformed: a field that's missing, unknown or of the wrong
        type, offsets out of the text or, of tokens, out of order, or a label that the line isn't
        annotated for.
    """
    return [(line, _parse_text(path, line, value)) for line, value in numbered_json(path)]


def write_jsonl(path: Path, texts: Iterable[AnnotatedText]) -> None:
    """Write texts as JSON lines that `parse_jsonl` reads.

    path (Path): The file; its folder must exist.
    texts (Iterable[AnnotatedText]): The texts.
    """
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for annotated in texts:
            file.write(json.dumps(_to_json(annotated), ensure_ascii=False) + "\n")


def _to_json(annotated: AnnotatedText) -> dict[str, Any]:
    value: dict[str, Any] = {
        "text": annotated.source.text,
        "tokens": [list(token) for token in annotated.source.tokens],
        "mentions": [_mention_json(each) for each in annotated.mentions],
    }
    if annotated.labels is not None:
        value["labels"] = list(annotated.labels)
    return value


def _mention_json(mention: Mention) -> dict[str, Any]:
    return {"start": mention.start, "end": mention.end, "label": mention.label}


def _parse_text(path: Path, line: int, value: Any) -> AnnotatedText:
    try:
        _check_keys("the line", value, _REQUIRED, _OPTIONAL)
        text = _parse_string("the text", value["text"])
        tokens = _parse_tokens(value["tokens"], len(text))
        mentions = tuple(_parse_mention(each, len(text)) for each in _as_list(value, "mentions"))
        if twice := [each for each in mentions if mentions.count(each) > 1]:
            raise _MalformedError(f"the mention {_mention_json(twice[0])} is listed twice")
        labels = _parse_labels(value) if "labels" in value else None
    except _MalformedError as error:
        raise ValueError(Errors.P116.format(path=path, line=line, problem=error)) from None
    check_encodable(path, line, text)
    return AnnotatedText(TokenizedText(text, tokens), tuple(sorted(mentions)), labels)


class _MalformedError(Exception):
    """What's wrong with a line; `_parse_text` adds where it is."""


def _check_keys(
    name: str, value: Any, required: tuple[str, ...], optional: tuple[str, ...] = ()
) -> None:
    if not isinstance(value, dict):
        raise _MalformedError(f"{name} is {value!r}, not an object")
    for key in required:
        if key not in value:
            raise _MalformedError(f"{name} lacks {key!r}")
    for key in value:
        if key not in required + optional:
            raise _MalformedError(f"{name} has the unknown field {key!r}")


def _parse_string(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise _MalformedError(f"{name} is {value!r}, not a string")
    return value


def _as_list(value: dict[str, Any], key: str) -> list[Any]:
    if not isinstance(value[key], list):
        raise _MalformedError(f"{key!r} is {value[key]!r}, not an array")
    return value[key]


def _parse_tokens(value: Any, length: int) -> Offsets:
    tokens: list[tuple[int, int]] = []
    for each in _as_list({"tokens": value}, "tokens"):
        if not isinstance(each, list) or len(each) != 2:
            raise _MalformedError(f"the token {each!r} isn't [start, end]")
        start, end = _parse_offsets(f"the token {each!r}", each[0], each[1], length)
        if tokens and start < tokens[-1][1]:
            raise _MalformedError(f"the token {each!r} starts before the one ahead of it ends")
        tokens.append((start, end))
    return tuple(tokens)


def _parse_mention(value: Any, length: int) -> Mention:
    name = f"the mention {value!r}"
    _check_keys(name, value, _MENTION)
    start, end = _parse_offsets(name, value["start"], value["end"], length)
    return Mention(start, end, _parse_label(value["label"]))


def _parse_offsets(name: str, start: Any, end: Any, length: int) -> tuple[int, int]:
    # `type` rather than `isinstance`: true and false are integers to Python.
    if type(start) is not int or type(end) is not int:
        raise _MalformedError(f"the offsets of {name} aren't whole numbers")
    if not 0 <= start < end <= length:
        raise _MalformedError(f"{name} is empty or outside the text of {length} characters")
    return start, end


def _parse_label(value: Any) -> str:
    label = _parse_string("a label", value)
    if not label:
        raise _MalformedError("a label is empty")
    return label


def _parse_labels(value: dict[str, Any]) -> tuple[str, ...]:
    labels = tuple(_parse_label(each) for each in _as_list(value, "labels"))
    if len(set(labels)) < len(labels):
        raise _MalformedError("'labels' names a label twice")
    return labels
