"""Lines of a corpus file with their numbers, so that every error can name the place; taken apart
as JSON or as columns."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import Errors
from ..texts import AnnotatedText

# A text and the number of the line it starts on.
NumberedText = tuple[int, AnnotatedText]

_DOCUMENT_MARK = "-DOCSTART-"
# The comments of CoNLL-U: "# text = ...", "# newdoc id = ...", "# newpar".
_CONLLU_COMMENT = re.compile(r"# +(?:[\w.:-]+(?: \w+)? *= |(?:newdoc|newpar)$)")
_SPACES = re.compile(r"[ \t]+")


def line_error(message: str, path: Path, line: int, **values: object) -> ValueError:
    """Make the error of a line: one of `Errors`, with the place and other values in it."""
    return ValueError(message.format(path=path, line=line, **values))


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Read the lines of a UTF-8 file, without their line ends. Only a line feed ends a line: tokens
    may hold the other characters that Python splits lines at.

    Yields:
        The number of a line, counted from 1, and the line.

    Raises:
        ValueError: The file can't be opened or a line isn't UTF-8.
    """
    try:
        with path.open("rb") as file:
            for line, content in enumerate(file, start=1):
                encoding = "utf-8-sig" if line == 1 else "utf-8"
                yield line, content.decode(encoding).rstrip("\r\n")
    except OSError as error:
        raise ValueError(Errors.P101.format(path=path, reason=error.strerror)) from error
    except UnicodeDecodeError as error:
        raise line_error(Errors.P102, path, line, reason=error.reason) from error


def numbered_json(path: Path) -> Iterator[tuple[int, Any]]:
    """Read the values of a file with one JSON value a line; blank lines hold none.

    Yields:
        The number of a line and its value.

    Raises:
        ValueError: The file can't be read or a line isn't JSON.
    """
    for line, content in numbered_lines(path):
        if not content.strip():
            continue
        try:
            yield line, json.loads(content)
        except json.JSONDecodeError as error:
            reason = f"{error.msg} at character {error.pos}"
            raise line_error(Errors.P106, path, line, reason=reason) from error


def check_encodable(path: Path, line: int, text: str) -> None:
    """Check that a text can be written to a file: JSON escapes can spell half a surrogate pair.

    Args:
        path: The file the text is from.
        line: The line it's on.
        text: The text.

    Raises:
        ValueError: It can't.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise line_error(Errors.P120, path, line, character=ascii(text[error.start])) from error


def numbered_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Read the rows of a token-per-line file. Columns are separated by tabs if the first row that
    can't be a comment or a document mark has a tab, else by runs of spaces. If all rows start
    with `#`, one with a tab serves as that first row.

    Lines that start with `-DOCSTART-` end a sentence. A line that starts with `#` is a comment if
    it has the form of CoNLL-U (`# key = value`), or if it has no tab while tabs separate the
    columns, or another number of columns than that first row while spaces do. All others are
    tokens, such as `#` itself or a hashtag.

    Yields:
        The number of a line and its columns, none if it's blank or marks a document.
    """
    pattern = _find_pattern(path)
    for line, content in numbered_lines(path):
        if not content.strip() or content.startswith(_DOCUMENT_MARK):
            yield line, []
        elif not _is_comment(content, pattern):
            yield line, _split_columns(content, pattern)


def _find_pattern(path: Path) -> str:
    """Find a line that's surely a row, empty if there's none."""
    fallback = ""
    for _, content in numbered_lines(path):
        if content.startswith("#"):
            is_row = "\t" in content and not _CONLLU_COMMENT.match(content)
            fallback = fallback or (content if is_row else "")
        elif content.strip() and not content.startswith(_DOCUMENT_MARK):
            return content
    return fallback


def _is_comment(content: str, pattern: str) -> bool:
    """Tell a comment from a token that starts with `#`."""
    if not content.startswith("#"):
        return False
    if _CONLLU_COMMENT.match(content):
        return True
    if "\t" in pattern:
        return "\t" not in content
    columns = _split_columns(content, pattern)
    return bool(pattern) and len(columns) != len(_split_columns(pattern, pattern))


def _split_columns(content: str, pattern: str) -> list[str]:
    """Split a line into its columns, without whitespace around them."""
    if "\t" in (pattern or content):
        return [column.strip() for column in content.split("\t")]
    return _SPACES.split(content.strip(" \t"))
