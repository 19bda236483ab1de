"""Read JSON files of any layout as numbered records, and place mentions by their offsets."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from ..errors import Errors
from ..texts import AnnotatedText, Mention, Span, TokenizedText
from .lines import (
    NumberedText,
    check_encodable,
    line_error,
    numbered_json,
    numbered_lines,
    shorten,
)

# Space between the values of a JSON document.
_BLANK = re.compile(r"[\s,]*")
# An array that begins with a string is a text of its own, not an array of texts.
_TEXT_FIRST = re.compile(r'\[\s*"')
# What stands before the list in a Python file of spaCy's training data.
_ASSIGNMENT = re.compile(r"\s*(?:\w+\s*=\s*)?(?=[\[(])")


class Listed(NamedTuple):
    """A mention as a file lists it.

    Args:
        start: Its offset, in an unknown unit.
        end: The offset behind it.
        label: Its label.
        quoted: What the file says is there; `None` if it does not.
    """

    start: int
    end: int
    label: str
    quoted: str | None = None


class Record(NamedTuple):
    """A text as a file has it.

    Args:
        text: The text.
        listed: Its mentions.
        tokens: Character offsets of its tokens; `None` if the file has none. If it has them, all
            offsets count characters.
        unknown: Whether it is known only of the mentions what they are, and of nothing else.
    """

    text: str
    listed: Sequence[Listed]
    tokens: tuple[Span, ...] | None = None
    unknown: bool = False

    def check(self) -> None:
        """Check the types of the text, the offsets and the labels.

        Raises:
            WrongRecordError: One is wrong.
        """
        if not isinstance(self.text, str):
            raise WrongRecordError(f"the text is {shorten(self.text)}, not a string")
        for each in self.listed:
            if type(each.start) is not int or type(each.end) is not int:
                raise WrongRecordError(
                    f"the offsets of {shorten(tuple(each))} aren't whole numbers"
                )
            if not isinstance(each.label, str) or not each.label:
                raise WrongRecordError(f"the label of {shorten(tuple(each))} is no name")


class WrongRecordError(Exception):
    """A problem with a record. `parse_records` adds the file and the line."""


def read_document(path: Path) -> Iterator[tuple[int, Any]]:
    """Read a JSON file: a value on each line, or an array of values, on one line or several.

    A Python file with a list of tuples, spaCy 2's training data, is read, too.

    Yields:
        The number of the line that a value begins on, and the value.

    Raises:
        ValueError: The file cannot be read, or is none of these.
    """
    first = next((content for _, content in numbered_lines(path) if content.strip()), "")
    try:
        value = json.loads(first)
    except json.JSONDecodeError:
        # A value goes on over several lines, or it is no JSON.
        yield from _read_whole(path)
        return
    if isinstance(value, list) and value and not isinstance(value[0], str):
        yield from _read_whole(path)
    else:
        yield from numbered_json(path)


def _read_whole(path: Path) -> Iterator[tuple[int, Any]]:
    """Read values and arrays of values, whatever lines they stand on."""
    content = "\n".join(line for _, line in numbered_lines(path))
    decoder = json.JSONDecoder()
    line, counted, in_array = 1, 0, False
    place = _skip(content, 0)
    while place < len(content):
        if content[place] == "[" and not in_array and not _TEXT_FIRST.match(content, place):
            in_array, place = True, _skip(content, place + 1)
            continue
        if content[place] == "]" and in_array:
            in_array, place = False, _skip(content, place + 1)
            continue
        line, counted = line + content.count("\n", counted, place), place
        try:
            value, place = decoder.raw_decode(content, place)
        except json.JSONDecodeError as error:
            python = _read_python(content)
            if python is None:
                reason = f"{error.msg} at line {error.lineno}, character {error.colno}"
                raise line_error(Errors.P106, path, line, reason=reason) from error
            yield from python
            return
        yield line, value
        place = _skip(content, place)
    if in_array:
        line = content.count("\n") + 1
        raise line_error(Errors.P106, path, line, reason="the file ends within an array")


def _skip(content: str, place: int) -> int:
    match = _BLANK.match(content, place)
    return place if match is None else match.end()


def _read_python(content: str) -> list[tuple[int, Any]] | None:
    """Read a list of a Python file; `None` if it has none."""
    match = _ASSIGNMENT.match(content)
    if match is None:
        return None
    try:
        # Only literals: no code runs.
        tree = ast.parse(content[match.end() :], mode="eval").body
        values = ast.literal_eval(tree)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    if not isinstance(tree, ast.List | ast.Tuple):
        return None
    before = content.count("\n", 0, match.end())
    numbers = [before + element.lineno for element in tree.elts]
    try:
        # As JSON has it: tuples are lists.
        return list(zip(numbers, json.loads(json.dumps(values)), strict=True))
    except TypeError:
        return None


def parse_records(path: Path, parse: Callable[[Any], Iterable[Record]]) -> list[NumberedText]:
    """Read the texts of a JSON file.

    Args:
        path: The file.
        parse: Reads the texts in a value. It raises a `WrongRecordError` for a value that is not as
            it should be.

    Returns:
        The texts, each with the number of its line.

    Raises:
        ValueError: The file cannot be read, a record is malformed, or a mention is not at its
            offsets, whatever they count.
    """
    numbered: list[tuple[int, Record]] = []
    for line, value in read_document(path):
        try:
            records = list(parse(value))
            for record in records:
                record.check()
        except WrongRecordError as error:
            raise line_error(Errors.P125, path, line, problem=error) from None
        except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
            problem = f"{type(error).__name__}: {error}, in {shorten(value)}"
            raise line_error(Errors.P125, path, line, problem=problem) from error
        for record in records:
            check_encodable(path, line, record.text)
            numbered.append((line, record))
    return place_records(path, numbered)


# Two characters within a word. Some scripts have no spaces between words.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff"
)
_LETTER = rf"[^\W_{_UNSPACED}\U00020000-\U0003ffff]"
_IN_WORD = re.compile(_LETTER + _LETTER)

# What offsets may count → how many of it a character is.
_UNITS: dict[str, Callable[[str], int]] = {
    "characters": lambda character: 1,
    # JavaScript's strings, Java's and C#'s.
    "UTF-16 units": lambda character: 2 if ord(character) > 0xFFFF else 1,
    "bytes": lambda character: len(character.encode("utf8")),
}


def place_records(path: Path, numbered: Sequence[tuple[int, Record]]) -> list[NumberedText]:
    """Turn records into texts, once it is known what their offsets count.

    Offsets count characters, unless many fewer of the mentions are misplaced with units of UTF-16
    or UTF-8: they are not what the file says, or begin or end within a word.

    Args:
        path: The file, for errors.
        numbered: The records, each with the number of its line.

    Raises:
        ValueError: A mention is not at its offsets.
    """
    # In ASCII, all units are the same. Offsets of tokens are known.
    unsure = [each for _, each in numbered if each.tokens is None and not each.text.isascii()]
    misses = {
        unit: sum(_count_misses(record, _convert(record, size)) for record in unsure)
        for unit, size in _UNITS.items()
    }
    best = min(misses, key=lambda unit: misses[unit])
    unit = best if 2 * misses[best] < misses["characters"] else "characters"
    return [(line, _place(path, line, record, unit)) for line, record in numbered]


def _place(path: Path, line: int, record: Record, unit: str) -> AnnotatedText:
    unit = unit if record.tokens is None else "characters"
    bounds = _convert(record, _UNITS[unit])
    mentions = set()
    for each in record.listed:
        start, end = bounds.get(each.start), bounds.get(each.end)
        is_there = start is not None and end is not None and start < end
        quoted = each.quoted
        if not is_there or (quoted is not None and record.text[start:end] != quoted):
            values = {"start": each.start, "end": each.end, "unit": unit}
            mention = shorten(quoted or each.label)
            raise line_error(Errors.P126, path, line, mention=mention, **values)
        mentions.add(Mention(cast(int, start), cast(int, end), each.label))
    ordered = tuple(sorted(mentions))
    unknown: tuple[Mention, ...] = ()
    if record.unknown:
        ends = [0, *(mention.end for mention in ordered)]
        starts = [*(mention.start for mention in ordered), len(record.text)]
        pairs = zip(ends, starts, strict=True)
        unknown = tuple(Mention(start, end, "") for start, end in pairs if start < end)
    if record.tokens is None:
        source = TokenizedText.split(record.text)
    else:
        source = TokenizedText(record.text, record.tokens)
    has_tokens = record.tokens is not None
    return AnnotatedText(source, ordered, unknown=unknown, has_tokens=has_tokens)


def _convert(record: Record, size: Callable[[str], int]) -> dict[int, int]:
    """Convert the offsets of a record's mentions to characters. Impossible ones are left out."""
    wanted = {offset for each in record.listed for offset in (each.start, each.end)}
    if record.text.isascii():
        return {offset: offset for offset in wanted if 0 <= offset <= len(record.text)}
    bounds, reached = ({0: 0} if 0 in wanted else {}), 0
    for place, character in enumerate(record.text if wanted else "", start=1):
        reached += size(character)
        if reached in wanted:
            bounds[reached] = place
    return bounds


def _count_misses(record: Record, bounds: dict[int, int]) -> int:
    """Count the mentions that are probably not at their offsets."""
    return sum(not _fits(record.text, each, bounds) for each in record.listed)


def _fits(text: str, listed: Listed, bounds: dict[int, int]) -> bool:
    start, end = bounds.get(listed.start), bounds.get(listed.end)
    if start is None or end is None or start >= end:
        return False
    if listed.quoted is not None:
        return text[start:end] == listed.quoted
    inner = text[start:end]
    # No mention begins or ends within a word, or with a space.
    return inner == inner.strip() and not any(
        0 < place < len(text) and _IN_WORD.match(text[place - 1 : place + 1])
        for place in (start, end)
    )
