"""Tokens and tags in other layouts than columns: CSV, and the JSON of Hugging Face's datasets."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import Errors
from .conll import TaggedFile, parse_tagged
from .lines import NumberedText, line_error, numbered_lines, shorten
from .options import DEFAULTS, ReadingOptions
from .records import read_document
from .tools import find_tagged

# Names that columns have in the wild.
_TOKEN_NAMES = {"token", "tokens", "word", "words", "form"}
_TAG_NAMES = {
    "tag",
    "tags",
    "ner",
    "ner_tag",
    "ner_tags",
    "label",
    "labels",
    "entity",
    "iob",
    "bio",
}
_SENTENCE_NAMES = {
    *("sentence", "sentence #", "sentence_id", "sentence id", "sentence_idx", "sentence_number"),
    *("sent", "sent_id", "sent_idx", "doc_id", "document_id"),
}
_DELIMITERS = ",;\t"
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
    sentence: int | None


def is_csv(line: str) -> bool:
    """Tell whether a line is the header of a table with a column of tokens and one of tags."""
    return _find_header(line) is not None


def _find_header(line: str) -> _Header | None:
    for delimiter in _DELIMITERS if len(line) <= _LONGEST_HEADER else "":
        names = [name.strip(' "').lower() for name in line.split(delimiter)]
        found = [
            next((place for place, name in enumerate(names) if name in wanted), None)
            for wanted in (_TOKEN_NAMES, _TAG_NAMES, _SENTENCE_NAMES)
        ]
        token, tag, sentence = found
        if token is not None and tag is not None:
            return _Header(delimiter, len(names), token, tag, sentence)
    return None


def parse_csv(path: Path, options: ReadingOptions = DEFAULTS) -> list[NumberedText]:
    """Read a table with a header: a token and its tag in each row, between commas, semicolons or
    tabs.

    Args:
        path: The file.
        options: The tag scheme.

    Returns:
        The sentences, each with the number of its first line.

    Raises:
        ValueError: There is no column of tokens or of tags, nothing separates sentences, a row has
            another width, or a tag is wrong.
    """
    return parse_tagged(_Table(path, replace(options, token_column=0, tag_column=1)))


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
    """A table with a header."""

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Read tokens and tags. A sentence ends at an empty row, or where its name changes."""
        lines = ((line, content) for line, content in numbered_lines(self.path))
        first, content = next((each for each in lines if each[1].strip()), (1, ""))
        header = _find_header(content)
        if header is None:
            raise self.error(Errors.P130, header=shorten(content))
        rows = list(self._split(header, first, lines))
        is_divided = header.sentence is not None or any(not columns for _, columns in rows)
        if not is_divided and len(rows) > _LONGEST_SENTENCE:
            raise self.error(Errors.P131, rows=len(rows))
        current = None
        for line, columns in rows:
            if not columns:
                yield line, []
                continue
            name = "" if header.sentence is None else columns[header.sentence].strip()
            # Some tables name a sentence in its first row only.
            if name and name != current:
                yield line, []
                current = name
            yield line, [columns[header.token].strip(), columns[header.tag].strip()]

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
