"""The JSON lines of the PaDeLLM paper: `[text, [start, end, mention, label], ...]`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import Errors
from ..texts import AnnotatedText, Mention, TokenizedText
from .boundaries import Offsets, character_offsets, word_offsets
from .lines import NumberedText, check_encodable, numbered_json


@dataclass(frozen=True)
class _Listed:
    """A mention as a line lists it; what its offsets count is yet to be found."""

    start: int
    end: int
    mention: str
    label: str


@dataclass(frozen=True)
class _Row:
    line: int
    text: str
    words: Offsets
    listed: tuple[_Listed, ...]


Span = tuple[int, int]


def _words(row: _Row, start: int, end: int) -> Span | None:
    if not 0 <= start <= end < len(row.words):
        return None
    return row.words[start][0], row.words[end][1]


def _words_exclusive(row: _Row, start: int, end: int) -> Span | None:
    return _words(row, start, end - 1)


def _characters(row: _Row, start: int, end: int) -> Span | None:
    return (start, end + 1) if 0 <= start <= end < len(row.text) else None


# What the offsets of a file may count, and how each reading turns them into characters.
_CONVENTIONS: dict[str, Callable[[_Row, int, int], Span | None]] = {
    "words": _words,
    "words-exclusive": _words_exclusive,
    "characters": _characters,
}
OFFSETS = ("auto", *_CONVENTIONS)


def parse_paper(path: Path, *, offsets: str = "auto") -> list[NumberedText]:
    """Read a file of the paper format. Offsets count whitespace tokens with an inclusive end
    ("words"), whitespace tokens with an exclusive end ("words-exclusive") or characters with an
    inclusive end ("characters"). With "auto" it's the reading under which every mention of the
    file equals the text at its offsets. Tokens are the whitespace tokens, or the characters that
    aren't whitespace where offsets count characters.

    path (Path): The file.
    offsets (str): What the offsets count, one of `OFFSETS`.
    RETURNS (List[NumberedText]): The texts with the number of their line.
    RAISES (ValueError): If a line is malformed, or no reading or several fit the file.
    """
    if offsets not in OFFSETS:
        raise ValueError(Errors.P104.format(option="offsets", value=offsets, choices=OFFSETS))
    rows = [_parse_row(path, line, value) for line, value in numbered_json(path)]
    convention = _find_convention(path, rows, offsets)
    return [(row.line, _annotate(row, convention)) for row in rows]


def _parse_row(path: Path, line: int, value: Any) -> _Row:
    problem = _shape_problem(value)
    if problem:
        raise ValueError(Errors.P107.format(path=path, line=line, problem=problem))
    text, *items = value
    check_encodable(path, line, text)
    return _Row(line, text, word_offsets(text), tuple(_Listed(*item) for item in items))


def _shape_problem(value: Any) -> str | None:
    """Say what's wrong with the JSON value of a line, `None` if nothing."""
    if not isinstance(value, list) or not value:
        return "not an array with a text"
    if not isinstance(value[0], str):
        return f"the text is {value[0]!r}, not a string"
    for item in value[1:]:
        if not _is_listed(item):
            return f"the mention {item!r} isn't [int, int, str, str] with nothing empty"
        if value[1:].count(item) > 1:
            return f"the mention {item!r} is listed twice"
    return None


def _is_listed(item: Any) -> bool:
    if not isinstance(item, list) or len(item) != 4:
        return False
    # `type` rather than `isinstance`: true and false are integers to Python.
    return all(type(each) is int for each in item[:2]) and all(
        isinstance(each, str) and each for each in item[2:]
    )


def _find_convention(path: Path, rows: Sequence[_Row], offsets: str) -> str:
    candidates = list(_CONVENTIONS) if offsets == "auto" else [offsets]
    misses = {each: _misses(rows, each) for each in candidates}
    total = sum(len(row.listed) for row in rows)
    best = min(candidates, key=lambda each: len(misses[each]))
    if misses[best]:
        line, listed = misses[best][0]
        raise ValueError(
            Errors.P108.format(
                path=path,
                line=line,
                mention=listed.mention,
                start=listed.start,
                end=listed.end,
                convention=best,
                failing=len(misses[best]),
                total=total,
                conventions=", ".join(candidates),
            )
        )
    fitting = [each for each in candidates if not misses[each]]
    if len(fitting) > 1 and rows:
        raise ValueError(Errors.P109.format(path=path, fitting=", ".join(fitting), total=total))
    return best


def _misses(rows: Sequence[_Row], convention: str) -> list[tuple[int, _Listed]]:
    """List the mentions that differ from the text at their offsets, with their line."""
    locate = _CONVENTIONS[convention]
    misses = []
    for row in rows:
        for listed in row.listed:
            span = locate(row, listed.start, listed.end)
            if span is None or row.text[span[0] : span[1]] != listed.mention:
                misses.append((row.line, listed))
    return misses


def _annotate(row: _Row, convention: str) -> AnnotatedText:
    mentions = []
    for listed in row.listed:
        span = _CONVENTIONS[convention](row, listed.start, listed.end)
        assert span is not None  # _find_convention saw every mention at its offsets
        mentions.append(Mention(*span, listed.label))
    tokens = character_offsets(row.text) if convention == "characters" else row.words
    return AnnotatedText(TokenizedText(row.text, tokens), tuple(sorted(mentions)))
