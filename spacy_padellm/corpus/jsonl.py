"""The package's own JSON lines: texts with tokens, mentions and annotated labels."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..errors import Errors
from ..texts import AnnotatedText, Mention, TokenizedText
from .lines import NumberedText, check_encodable, line_error, shorten
from .paper import character_offsets
from .records import read_document

# Fields that a line may lack.
_OPTIONAL = ("tokens", "labels", "unknown")


def write_jsonl(path: Path, texts: Iterable[AnnotatedText]) -> None:
    """Write texts as JSON lines that `parse_jsonl` can read.

    Args:
        path: The file. Its folder must exist.
        texts: The texts.
    """
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for annotated in texts:
            source = annotated.source
            value: dict[str, Any] = {"text": source.text}
            if annotated.has_tokens or source.tokens == character_offsets(source.text):
                value["tokens"] = source.tokens
            value["mentions"] = [asdict(each) for each in annotated.mentions]
            if annotated.labels is not None:
                value["labels"] = annotated.labels
            if annotated.unknown:
                value["unknown"] = [[each.start, each.end] for each in annotated.unknown]
            file.write(json.dumps(value, ensure_ascii=False) + "\n")


def parse_jsonl(path: Path, *, with_gold: bool = True) -> list[NumberedText]:
    """Read a file of the package's JSON lines.

    If the tokens of all texts are their characters, they are not the corpus's own.

    Args:
        path: The file.
        with_gold: Whether every line needs mentions. If not, a text without them is annotated for
            no label, and may have any other fields.

    Returns:
        The texts, each with the number of its line.

    Raises:
        ValueError: A line is malformed: a field is missing, unknown or of the wrong type, offsets
            are outside the text, tokens are out of order, or a mention or label is listed twice.
    """
    numbered: list[NumberedText] = []
    for line, value in read_document(path):
        try:
            is_bare = isinstance(value, dict) and "mentions" not in value and not with_gold
            if is_bare:
                value = {**_pick(value, "text", "tokens"), "mentions": [], "labels": []}
            numbered.append((line, _parse_text(value)))
        except _MalformedError as error:
            raise line_error(Errors.P116, path, line, problem=error) from None
        check_encodable(path, line, value["text"])
    sources = [annotated.source for _, annotated in numbered]
    if all(each.tokens == character_offsets(each.text) for each in sources):
        return [(line, replace(annotated, has_tokens=False)) for line, annotated in numbered]
    return numbered


def _pick(value: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value[key] for key in keys if key in value}


class _MalformedError(Exception):
    """A problem with a line. `parse_jsonl` adds the line's number."""


def _check(holds: bool, problem: str) -> None:
    if not holds:
        raise _MalformedError(problem)


def _parse_text(value: Any) -> AnnotatedText:
    _check_fields("the line", value, "text", "mentions", optional=_OPTIONAL)
    text, labels = value["text"], value.get("labels")
    _check(isinstance(text, str), f"the text is {shorten(text)}, not a string")
    for key in (key for key in value if key != "text"):
        _check(isinstance(value[key], list), f"{key!r} is {shorten(value[key])}, not an array")
    for key, name in (("tokens", "token"), ("unknown", "unknown stretch")):
        pairs = value.get(key, ())
        for pair in pairs:
            is_pair = isinstance(pair, list) and len(pair) == 2
            _check(is_pair, f"the {name} {shorten(pair)} isn't [start, end]")
            _check_offsets(f"the {name} {shorten(pair)}", pair[0], pair[1], len(text))
        for before, pair in pairwise(pairs):
            problem = f"the {name} {shorten(pair)} starts before the one ahead of it ends"
            _check(before[1] <= pair[0], problem)
    for mention in value["mentions"]:
        name = f"the mention {shorten(mention)}"
        _check_fields(name, mention, "start", "end", "label")
        _check_offsets(name, mention["start"], mention["end"], len(text))
        _check_label(mention["label"])
        is_alone = value["mentions"].count(mention) == 1
        _check(is_alone, f"{name} is listed twice")
    for label in labels or ():
        _check_label(label)
    _check(len(set(labels or ())) == len(labels or ()), "'labels' names a label twice")
    tokens = tuple((start, end) for start, end in value.get("tokens", ()))
    return AnnotatedText(
        TokenizedText(text, tokens) if tokens else TokenizedText.split(text),
        tuple(sorted(Mention(**each) for each in value["mentions"])),
        None if labels is None else tuple(labels),
        tuple(Mention(start, end, "") for start, end in value.get("unknown", ())),
        has_tokens=bool(tokens),
    )


def _check_fields(name: str, value: Any, *required: str, optional: Sequence[str] = ()) -> None:
    _check(isinstance(value, dict), f"{name} is {shorten(value)}, not an object")
    for key in required:
        _check(key in value, f"{name} lacks {key!r}")
    for key in value:
        _check(key in (*required, *optional), f"{name} has the unknown field {key!r}")


def _check_offsets(name: str, start: Any, end: Any, length: int) -> None:
    # `type` rather than `isinstance`, as true and false are integers in Python.
    are_integers = type(start) is int and type(end) is int
    _check(are_integers, f"the offsets of {name} aren't whole numbers")
    is_inside = 0 <= start < end <= length
    _check(is_inside, f"{name} is empty or outside the text of {length} characters")


def _check_label(label: Any) -> None:
    _check(isinstance(label, str), f"a label is {shorten(label)}, not a string")
    _check(label != "", "a label is empty")
