"""Read the JSON lines of the PaDeLLM paper: `[text, [start, end, mention, label], ...]`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import Errors
from ..texts import AnnotatedText, Mention, TokenizedText
from .lines import NumberedText, check_encodable, line_error, shorten
from .options import DEFAULTS, ReadingOptions
from .records import read_document

Span = tuple[int, int]
# A mention as a line lists it: two offsets in an unknown unit, the mention and its label.
_Listed = tuple[int, int, str, str]

_WORD = re.compile(r"\S+")
_CHARACTER = re.compile(r"\S")


def word_offsets(text: str) -> tuple[Span, ...]:
    """List the offsets of each run of characters without whitespace."""
    return tuple(match.span() for match in _WORD.finditer(text))


def character_offsets(text: str) -> tuple[Span, ...]:
    """List the offsets of each character that is not whitespace."""
    return tuple(match.span() for match in _CHARACTER.finditer(text))


@dataclass(frozen=True)
class _Row:
    line: int
    text: str
    words: tuple[Span, ...]
    listed: tuple[_Listed, ...]


def _words(row: _Row, start: int, end: int) -> Span | None:
    if not 0 <= start <= end < len(row.words):
        return None
    return row.words[start][0], row.words[end][1]


def _words_exclusive(row: _Row, start: int, end: int) -> Span | None:
    return _words(row, start, end - 1)


def _characters(row: _Row, start: int, end: int) -> Span | None:
    return (start, end + 1) if 0 <= start <= end < len(row.text) else None


# What offsets may count → the function that converts them to characters.
_CONVENTIONS: dict[str, Callable[[_Row, int, int], Span | None]] = {
    "words": _words,
    "words-exclusive": _words_exclusive,
    "characters": _characters,
}
OFFSETS = ("auto", *_CONVENTIONS)


def parse_paper(path: Path, options: ReadingOptions = DEFAULTS) -> list[NumberedText]:
    """Read a file in the format of the paper.

    Offsets count whitespace tokens with an inclusive end ("words"), whitespace tokens with an
    exclusive end ("words-exclusive"), or characters with an inclusive end ("characters"). "auto"
    finds the way to count with which every mention of the file equals the text at its offsets. If
    offsets count characters, every character except whitespace becomes a token. Otherwise the
    tokens are the whitespace tokens.

    Args:
        path: The file.
        options: What offsets count.

    Returns:
        The texts, each with the number of its line.

    Raises:
        ValueError: `offsets` is unknown, a line is malformed, or no way to count fits the file, or
            several do.
    """
    offsets = options.offsets
    if offsets not in OFFSETS:
        raise ValueError(Errors.P104.format(option="offsets", value=offsets, choices=OFFSETS))
    rows = [_parse_row(path, line, value) for line, value in read_document(path)]
    convention = _find_convention(path, rows, offsets)
    return [(row.line, _annotate(row, convention)) for row in rows]


def _parse_row(path: Path, line: int, value: Any) -> _Row:
    problem = _shape_problem(value)
    if problem:
        raise line_error(Errors.P107, path, line, problem=problem)
    text, *listed = value
    check_encodable(path, line, text)
    return _Row(line, text, word_offsets(text), tuple(tuple(each) for each in listed))


def _shape_problem(value: Any) -> str | None:
    """Say what is wrong with the JSON value of a line; `None` if nothing is."""
    if not isinstance(value, list) or not value:
        return "not an array with a text"
    if not isinstance(value[0], str):
        return f"the text is {shorten(value[0])}, not a string"
    for item in value[1:]:
        is_typed = isinstance(item, list) and [*map(type, item)] == [int, int, str, str]
        if not (is_typed and all(item[2:])):
            return f"the mention {shorten(item)} isn't [int, int, str, str] with nothing empty"
        if value[1:].count(item) > 1:
            return f"the mention {shorten(item)} is listed twice"
    return None


def _find_convention(path: Path, rows: Sequence[_Row], offsets: str) -> str:
    candidates = list(_CONVENTIONS) if offsets == "auto" else [offsets]
    listed = [(row, each) for row in rows for each in row.listed]
    misses = {
        name: [(row.line, each) for row, each in listed if _locate(row, each, name) is None]
        for name in candidates
    }
    best = min(candidates, key=lambda name: len(misses[name]))
    if misses[best]:
        line, (start, end, mention, _) = misses[best][0]
        raise line_error(
            Errors.P108,
            path,
            line,
            mention=mention,
            start=start,
            end=end,
            convention=best,
            failing=len(misses[best]),
            total=len(listed),
            conventions=", ".join(candidates),
        )
    fitting = [name for name in candidates if not misses[name]]
    if len(fitting) > 1 and rows:
        names = ", ".join(fitting)
        raise ValueError(Errors.P109.format(path=path, fitting=names, total=len(listed)))
    return best


def _locate(row: _Row, listed: _Listed, convention: str) -> Span | None:
    """Find the character offsets of a mention; `None` if other text is at its offsets."""
    start, end, mention, _ = listed
    span = _CONVENTIONS[convention](row, start, end)
    return span if span and row.text[slice(*span)] == mention else None


def _annotate(row: _Row, convention: str) -> AnnotatedText:
    located = [(_locate(row, listed, convention), listed[-1]) for listed in row.listed]
    mentions = sorted(Mention(*span, label) for span, label in located if span)
    tokens = character_offsets(row.text) if convention == "characters" else row.words
    source = TokenizedText(row.text, tokens)
    return AnnotatedText(source, tuple(mentions), has_tokens=convention != "characters")
