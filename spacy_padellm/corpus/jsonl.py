"""The package's own JSON lines: texts with tokens, mentions and annotated labels."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..errors import Errors
from ..texts import AnnotatedText, Mention, TokenizedText
from .lines import NumberedText, check_encodable, line_error, numbered_json


def write_jsonl(path: Path, texts: Iterable[AnnotatedText]) -> None:
    """Write texts as JSON lines that `parse_jsonl` can read.

    Args:
        path: The file. Its folder must exist.
        texts: The texts.
    """
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for annotated in texts:
            source = annotated.source
            value: dict[str, Any] = {"text": source.text, "tokens": source.tokens}
            value["mentions"] = [asdict(each) for each in annotated.mentions]
            if annotated.labels is not None:
                value["labels"] = annotated.labels
            file.write(json.dumps(value, ensure_ascii=False) + "\n")


def parse_jsonl(path: Path) -> list[NumberedText]:
    """Read a file of the package's JSON lines.

    Returns:
        The texts, each with the number of its line.

    Raises:
        ValueError: A line is malformed: a field is missing, unknown or of the wrong type, offsets
            are outside the text, tokens are out of order, or a mention or label is listed twice.
    """
    numbered: list[NumberedText] = []
    for line, value in numbered_json(path):
        try:
            numbered.append((line, _parse_text(value)))
        except _MalformedError as error:
            raise line_error(Errors.P116, path, line, problem=error) from None
        check_encodable(path, line, value["text"])
    return numbered


class _MalformedError(Exception):
    """A problem with a line. `parse_jsonl` adds the line's number."""


def _check(holds: bool, problem: str) -> None:
    if not holds:
        raise _MalformedError(problem)


def _parse_text(value: Any) -> AnnotatedText:
    _check_fields("the line", value, "text", "tokens", "mentions", optional="labels")
    text, labels = value["text"], value.get("labels")
    _check(isinstance(text, str), f"the text is {text!r}, not a string")
    for key in (key for key in value if key != "text"):
        _check(isinstance(value[key], list), f"{key!r} is {value[key]!r}, not an array")
    for token in value["tokens"]:
        is_pair = isinstance(token, list) and len(token) == 2
        _check(is_pair, f"the token {token!r} isn't [start, end]")
        _check_offsets(f"the token {token!r}", token[0], token[1], len(text))
    for before, token in pairwise(value["tokens"]):
        problem = f"the token {token!r} starts before the one ahead of it ends"
        _check(before[1] <= token[0], problem)
    for mention in value["mentions"]:
        _check_fields(f"the mention {mention!r}", mention, "start", "end", "label")
        _check_offsets(f"the mention {mention!r}", mention["start"], mention["end"], len(text))
        _check_label(mention["label"])
        is_alone = value["mentions"].count(mention) == 1
        _check(is_alone, f"the mention {mention} is listed twice")
    for label in labels or ():
        _check_label(label)
    _check(len(set(labels or ())) == len(labels or ()), "'labels' names a label twice")
    return AnnotatedText(
        TokenizedText(text, tuple((start, end) for start, end in value["tokens"])),
        tuple(sorted(Mention(**each) for each in value["mentions"])),
        None if labels is None else tuple(labels),
    )


def _check_fields(name: str, value: Any, *required: str, optional: str | None = None) -> None:
    _check(isinstance(value, dict), f"{name} is {value!r}, not an object")
    for key in required:
        _check(key in value, f"{name} lacks {key!r}")
    for key in value:
        _check(key in (*required, optional), f"{name} has the unknown field {key!r}")


def _check_offsets(name: str, start: Any, end: Any, length: int) -> None:
    # `type` rather than `isinstance`, as true and false are integers in Python.
    are_integers = type(start) is int and type(end) is int
    _check(are_integers, f"the offsets of {name} aren't whole numbers")
    is_inside = 0 <= start < end <= length
    _check(is_inside, f"{name} is empty or outside the text of {length} characters")


def _check_label(label: Any) -> None:
    _check(isinstance(label, str), f"a label is {label!r}, not a string")
    _check(label != "", "a label is empty")
