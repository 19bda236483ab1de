"""Read JSON files of any layout as numbered records, and place mentions by their offsets."""

from __future__ import annotations

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
    read_python,
    shorten,
)

# Space between the values of a JSON document.
_BLANK = re.compile(r"[\s,]*")
# An array that begins with a string is a text of its own, not an array of texts.
_TEXT_FIRST = re.compile(r'\[\s*"')
# What tools write for a line break in a quotation.
_WRITTEN_BREAK = re.compile(r"\\[nr]")


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
        hulls: Stretches within which is a mention of their label that is not one stretch.
    """

    text: str
    listed: Sequence[Listed]
    tokens: tuple[Span, ...] | None = None
    unknown: bool = False
    hulls: Sequence[Listed] = ()

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
    """A problem with a record. `parse_records` adds the file and the line.

    Args:
        problem: What is wrong.
        remedy: What to do, if it is more than to correct the record.
    """

    def __init__(self, problem: str, remedy: str = "") -> None:
        super().__init__(problem)
        self.remedy = remedy


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
        value = json.loads("" if path.suffix == ".py" else first)
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
    if path.suffix == ".py":
        python = read_python(path, content)
        if python is None and content.lstrip()[:1] not in "[{":
            reason = "the Python in it assigns no list of texts with their annotation to a name"
            raise line_error(Errors.P106, path, 1, reason=reason)
        if python is not None:
            yield from python
            return
    line, counted, count, in_array = 1, 0, 0, False
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
            python = read_python(path, content)
            if python is None:
                reason = f"{error.msg} at line {error.lineno}, character {error.colno}"
                is_cut = error.pos >= len(content.rstrip()) or error.msg.startswith("Unterminated")
                if is_cut and (in_array or not content[place:].startswith("[")):
                    reason = f"the file ends within a value: {reason}"
                raise line_error(Errors.P106, path, line, reason=reason) from error
            # The first ones may have been JSON as well.
            yield from python[count:]
            return
        count += 1
        yield line, value
        place = _skip(content, place)
    if in_array:
        line = content.count("\n") + 1
        raise line_error(Errors.P106, path, line, reason="the file ends within an array")


def _skip(content: str, place: int) -> int:
    match = _BLANK.match(content, place)
    return place if match is None else match.end()


def parse_records(
    path: Path, parse: Callable[[Any], Iterable[Record]], why_none: str = ""
) -> list[NumberedText]:
    """Read the texts of a JSON file.

    Args:
        path: The file.
        parse: Reads the texts in a value. It raises a `WrongRecordError` for a value that is not as
            it should be.
        why_none: Why records may have no texts.

    Returns:
        The texts, each with the number of its line.

    Raises:
        ValueError: The file cannot be read, a record is malformed, or a mention is not at its
            offsets, whatever they count. Or it has records, but no texts.
    """
    numbered: list[tuple[int, Record]] = []
    values = list(read_document(path))
    for line, value in values:
        try:
            records = list(parse(value))
            for record in records:
                record.check()
        except WrongRecordError as error:
            message = Errors.P132 if error.remedy else Errors.P125
            raise line_error(message, path, line, problem=error, remedy=error.remedy) from None
        except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
            problem = f"{type(error).__name__}: {error}, in {shorten(value)}"
            raise line_error(Errors.P125, path, line, problem=problem) from error
        for record in records:
            check_encodable(path, line, record.text)
            numbered.append((line, record))
    if values and not numbered and why_none:
        raise ValueError(Errors.P134.format(path=path, count=len(values), reason=why_none))
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
    mentions: set[Mention] = set()
    hulls: set[Mention] = set()
    for number, each in enumerate([*record.listed, *record.hulls]):
        start, end = bounds.get(each.start), bounds.get(each.end)
        is_there = start is not None and end is not None and start < end
        quoted = each.quoted
        if not is_there or (quoted is not None and not is_quoted(record.text[start:end], quoted)):
            values = {"start": each.start, "end": each.end, "unit": unit}
            mention = shorten(quoted or each.label)
            raise line_error(Errors.P126, path, line, mention=mention, **values)
        place = _strip(record.text, cast(int, start), cast(int, end))
        if place is None:
            problem = f"the mention {shorten(each.label)} at [{start}, {end}] is only white space"
            raise line_error(Errors.P125, path, line, problem=problem)
        (hulls if number >= len(record.listed) else mentions).add(Mention(*place, each.label))
    ordered = tuple(sorted(mentions))
    unknown = tuple(sorted(hulls))
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


def is_quoted(found: str, quoted: str) -> bool:
    """Tell whether a text is what a file quotes, in which white space may be another, or none."""
    return found == quoted or _squeeze(found) == _squeeze(quoted)


def is_within(text: str, quoted: str) -> bool:
    """Tell whether a text has a quotation, in which white space may be another, or none."""
    return quoted in text or _squeeze(quoted) in _squeeze(text)


def _squeeze(text: str) -> str:
    return "".join(_WRITTEN_BREAK.sub(" ", text).split())


def _strip(text: str, start: int, end: int) -> Span | None:
    """Leave out white space at the edges of a mention; `None` if it is nothing else."""
    inner = text[start:end]
    start += len(inner) - len(inner.lstrip())
    return (start, start + len(inner.strip())) if inner.strip() else None


def _convert(record: Record, size: Callable[[str], int]) -> dict[int, int]:
    """Convert the offsets of a record's mentions to characters. Impossible ones are left out."""
    listed = (*record.listed, *record.hulls)
    wanted = {offset for each in listed for offset in (each.start, each.end)}
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
        return is_quoted(text[start:end], listed.quoted)
    inner = text[start:end]
    # No mention begins or ends within a word, or with a space.
    return inner == inner.strip() and not any(
        0 < place < len(text) and _IN_WORD.match(text[place - 1 : place + 1])
        for place in (start, end)
    )
