"""Tokens and tags in other layouts than columns: CSV, and the JSON of Hugging Face's datasets."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import dropwhile, islice
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import Errors
from .conll import TaggedFile, parse_tagged
from .lines import NumberedText, line_error, numbered_lines, shorten
from .options import DEFAULTS, ReadingOptions
from .records import read_document
from .tags import split_tag
from .tools import find_tagged

# Names that columns have in the wild.
_TOKEN_NAMES = {"token", "tokens", "word", "words", "form"}
# The first ones are certainly not of parts of speech.
_TAG_NAMES = (
    {"ner", "ner_tag", "ner_tags", "ner_label", "ner_labels", "iob", "bio"},
    {"tag", "tags", "label", "labels", "entity"},
)
# A sentence has the same names in all of these columns.
_GROUP_NAMES = {
    *("sentence", "sentence #", "sentence_id", "sentence id", "sentence_idx", "sentence_number"),
    *("sent", "sent_id", "sent_idx", "doc", "doc_id", "doc_name", "docid", "document"),
    *("document_id", "file", "file_name", "filename", "article", "article_id"),
}
_DELIMITERS = ",;\t"
# Excel's line that names the delimiter.
_DELIMITER_LINE = re.compile(r"\s*sep=[,;\t]?\s*", re.IGNORECASE)
# Names of columns in tables with a text in each row, and parts of those of its mentions.
_TEXT_NAMES = {"text", "texts", "sentence", "sentences", "content"}
_PARTS = ("label", "tag", "entit", "ner", "start")
# Rows that are looked at to find out whether a table without a header is one.
_SAMPLE = 100
# A longer line is no header.
_LONGEST_HEADER = 1000
# More rows than a sentence has.
_LONGEST_SENTENCE = 500


class _Header(NamedTuple):
    """The header of a table: its delimiter, its width, and the columns that are read."""

    delimiter: str
    width: int
    token: int
    tag: int
    groups: tuple[int, ...] = ()
    # Whether it is a row as well.
    is_row: bool = False


def is_csv(path: Path) -> bool:
    """Tell whether a file is a table with a column of tokens and one of tags."""
    lines = list(islice(_contents(path), _SAMPLE))
    return _find_header(lines) is not None


def has_a_text_in_each_row(path: Path) -> bool:
    """Tell whether a file is a table of texts with their annotation."""
    for _, line in islice(_contents(path), 1):
        for names in map(partial(_names, line), _DELIMITERS):
            rest = [name for name in names if name not in _TEXT_NAMES]
            if len(rest) < len(names) and any(part in name for name in rest for part in _PARTS):
                return True
    return False


def _contents(path: Path) -> Iterator[tuple[int, str]]:
    """Read the lines from the first that has a content, but not Excel's line of the delimiter."""
    lines = dropwhile(lambda numbered: not numbered[1].strip(), numbered_lines(path))
    first = next(lines, None)
    if first is not None and not _DELIMITER_LINE.fullmatch(first[1]):
        yield first
    yield from lines


def _names(line: str, delimiter: str) -> list[str]:
    columns = line.split(delimiter) if len(line) <= _LONGEST_HEADER else []
    return [name.strip(' "').lower() for name in columns]


def _find_header(lines: Sequence[tuple[int, str]]) -> _Header | None:
    """Find the header in the first of some lines, or what the columns are without one."""
    for delimiter in _DELIMITERS if lines else "":
        names = _names(lines[0][1], delimiter)
        token, *tags = (
            next((place for place, name in enumerate(names) if name in wanted), None)
            for wanted in (_TOKEN_NAMES, *_TAG_NAMES)
        )
        tag = next((place for place in tags if place is not None), None)
        if token is not None and tag is not None:
            groups = (place for place, name in enumerate(names) if name in _GROUP_NAMES)
            return _Header(delimiter, len(names), token, tag, tuple(groups))
    found = (_find_bare(lines, delimiter) for delimiter in _DELIMITERS[:2])
    return next(filter(None, found), None)


def _find_bare(lines: Sequence[tuple[int, str]], delimiter: str) -> _Header | None:
    """Find out what the columns are in a table without a header: one has nothing but tags."""
    try:
        rows = [row for row in csv.reader((line for _, line in lines), delimiter=delimiter) if row]
    except csv.Error:
        return None
    width = len(rows[0]) if rows else 0
    if len(rows) < 2 or any(len(row) != width for row in rows):
        return None
    tags = [place for place in range(1, width) if all(split_tag(row[place]) for row in rows)]
    return _Header(delimiter, width, 0, tags[-1], is_row=True) if tags else None


def parse_csv(path: Path, options: ReadingOptions = DEFAULTS) -> list[NumberedText]:
    """Read a table: a token and its tag in each row, between commas, semicolons or tabs.

    A header names the columns. Without one, the first column has the tokens, and the last one that
    has nothing but tags these, if no other columns are given.

    Args:
        path: The file.
        options: The tag scheme, and columns to read instead.

    Returns:
        The sentences, each with the number of its first line.

    Raises:
        ValueError: There is no column of tokens or of tags, nothing separates sentences, a row has
            another width, or a tag is wrong.
    """
    usual = replace(options, token_column=0, tag_column=1)
    return parse_tagged(_Table(path, usual, options.columns))


def parse_huggingface(path: Path, options: ReadingOptions = DEFAULTS) -> list[NumberedText]:
    """Read records with a list of tokens and one of tags.

    Args:
        path: The file.
        options: The tag scheme, and the names of tags that are numbers.

    Returns:
        The texts, each with the number of its line.

    Raises:
        ValueError: A record has no tokens or tags, or not as many of both, or a tag is wrong.
    """
    return parse_tagged(_Records(path, replace(options, token_column=0, tag_column=1)))


@dataclass(frozen=True)
class _Table(TaggedFile):
    """A table."""

    # Those of tokens and tags that were asked for.
    columns: tuple[int, int]

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Read tokens and tags. A sentence ends at an empty row, or where its name changes."""
        lines = list(_contents(self.path))
        header = _find_header(lines[:_SAMPLE])
        if header is None:
            content = lines[0][1] if lines else ""
            raise self.error(Errors.P130, header=shorten(content))
        chosen, usual = self.columns, DEFAULTS.columns
        if any(not -header.width <= column < header.width for column in chosen):
            values = {"found": header.width, "token_column": chosen[0], "tag_column": chosen[1]}
            raise self.error(Errors.P110, line=lines[0][0], **values)
        header = header._replace(
            token=header.token if chosen[0] == usual[0] else chosen[0] % header.width,
            tag=header.tag if chosen[1] == usual[1] else chosen[1] % header.width,
        )
        if header.token == header.tag:
            values = {"found": header.width, "token_column": header.token, "tag_column": header.tag}
            raise self.error(Errors.P110, line=lines[0][0], **values)
        skipped = 0 if header.is_row else 1
        first = lines[0][0] - 1 + skipped
        rows = list(self._split(header, first, iter(lines[skipped:])))
        is_divided = bool(header.groups) or any(not columns for _, columns in rows)
        if not is_divided and len(rows) > _LONGEST_SENTENCE:
            raise self.error(Errors.P131, rows=len(rows))
        current = [""] * len(header.groups)
        for line, columns in rows:
            if not columns:
                yield line, []
                continue
            # Some tables name a sentence in its first row only.
            names = [columns[place].strip() for place in header.groups]
            names = [name or before for name, before in zip(names, current, strict=True)]
            if names != current:
                yield line, []
                current = names
            tag = columns[header.tag].strip()
            if tag.startswith("["):
                raise self.error(Errors.P137)
            yield line, [columns[header.token].strip(), tag]

    def _split(
        self, header: _Header, first: int, lines: Iterator[tuple[int, str]]
    ) -> Iterator[tuple[int, list[str]]]:
        """Split lines into columns. Tables with tabs have no quotes."""
        contents = (content for _, content in lines)
        if header.delimiter == "\t":
            reader = csv.reader(contents, delimiter="\t", quoting=csv.QUOTE_NONE)
        else:
            reader = csv.reader(contents, delimiter=header.delimiter)
        line = first
        try:
            for columns in reader:
                before, line = line, first + reader.line_num
                if line > before + 1:
                    problem = "a quotation mark opens here and closes on a later line"
                    raise line_error(Errors.P125, self.path, before + 1, problem=problem)
                if not any(columns):
                    yield line, []
                    continue
                if len(columns) != header.width:
                    values = {"found": len(columns), "width": header.width}
                    raise self.error(Errors.P124, line=line, **values)
                yield line, columns
        except csv.Error as error:
            raise line_error(Errors.P125, self.path, line + 1, problem=error) from error


@dataclass(frozen=True)
class _Records(TaggedFile):
    """Records of a Hugging Face dataset."""

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Read tokens and tags. Each record is a sentence."""
        for line, value in read_document(self.path):
            found = find_tagged(value)
            if found is None:
                problem = f"there are no tokens and tags in {shorten(value)}"
                raise line_error(Errors.P125, self.path, line, problem=problem)
            tokens, tags = found
            if len(tags) != len(tokens):
                problem = f"there are {len(tokens)} tokens and {len(tags)} tags"
                raise line_error(Errors.P125, self.path, line, problem=problem)
            yield line, []
            for token, tag in zip(tokens, tags, strict=True):
                yield line, [token, self._name(line, tag, self.options.tag_names)]

    def _name(self, line: int, tag: Any, names: Sequence[str] | None) -> str:
        if isinstance(tag, str):
            return tag
        problem = None
        if names is None:
            problem = "its tags are numbers. Convert it with their names in order: "
            problem += "`convert --tag-names O,B-PER,I-PER,...`"
        elif not 0 <= tag < len(names):
            problem = f"the tag {tag!r} has no name among the {len(names)} given"
        if problem is not None:
            raise line_error(Errors.P125, self.path, line, problem=problem)
        return str((names or ())[tag])
