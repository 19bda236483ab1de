"""Read the lines of a corpus file as text, JSON or columns.

Each line comes with its number, so that every error can name the place.
"""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import Errors
from ..texts import AnnotatedText

# The number of the line that a text starts on, and the text.
NumberedText = tuple[int, AnnotatedText]

_DOCUMENT_MARK = "-DOCSTART-"
# The comments of CoNLL-U: "# text = ...", "# newdoc id = ...", "# newpar".
_CONLLU_COMMENT = re.compile(r"# +(?:[\w.:-]+(?: \w+)? *= |(?:newdoc|newpar)$)")
# Bytes that are searched at once for a line feed.
_BLOCK = 1 << 20
_SPACES = re.compile(r"[ \t]+")


def line_error(message: str, path: Path, line: int, **values: object) -> ValueError:
    """Build the error for a line from a message of `Errors`, and fill in the place and values."""
    return ValueError(message.format(path=path, line=line, **values))


def shorten(value: object) -> str:
    """Write a value of a file for a message, in few characters."""
    # A whole export may stand on one line.
    short = reprlib.Repr()
    short.maxstring = short.maxother = 80
    return short.repr(value)


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Read the lines of a UTF-8 file, without their line ends.

    Only a line feed ends a line, as tokens may contain the other characters that Python splits
    lines at. In a file without line feeds, a carriage return does.

    Yields:
        The number of a line, from 1, and the line.

    Raises:
        ValueError: The file can't be opened or a line isn't UTF-8.
    """
    try:
        with path.open("rb") as file:
            for line, content in enumerate(_split_lines(file), start=1):
                encoding = "utf-8-sig" if line == 1 else "utf-8"
                yield line, content.decode(encoding).rstrip("\r\n")
    except OSError as error:
        raise ValueError(Errors.P101.format(path=path, reason=error.strerror)) from error
    except UnicodeDecodeError as error:
        raise line_error(Errors.P102, path, line, reason=error.reason) from error


def _split_lines(file: BinaryIO) -> Iterable[bytes]:
    while block := file.read(_BLOCK):
        if b"\n" in block:
            file.seek(0)
            return file
    # Old Macintosh programs, and Excel's export for them, end lines with a carriage return.
    file.seek(0)
    return file.read().removesuffix(b"\r").split(b"\r")


def numbered_json(path: Path) -> Iterator[tuple[int, Any]]:
    """Read a file with one JSON value on each line. Blank lines are skipped.

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
    """Check that a text from a JSON file can be encoded as UTF-8.

    It cannot if a JSON escape in it stands for half a surrogate pair.

    Args:
        path: The file that the text is from.
        line: The number of its line.
        text: The text.

    Raises:
        ValueError: The text cannot be encoded.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise line_error(Errors.P120, path, line, character=ascii(text[error.start])) from error


def numbered_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Read the rows of a token-per-line file.

    Columns are separated by tabs if the pattern row has a tab, otherwise by runs of spaces. The
    pattern row is the first row that can't be a comment or a document mark. If all rows start with
    `#`, it is the first one with a tab.

    Lines that start with `-DOCSTART-` end a sentence. A line that starts with `#` is a comment if
    it has the form of CoNLL-U (`# key = value`). It is also a comment if tabs separate the columns
    and it has no tab, or if spaces separate them and it has another number of columns than the
    pattern row. Other lines with `#` are tokens, such as `#` itself or a hashtag.

    Yields:
        The number of a line and its columns. A blank line or a document mark has no columns.
    """
    pattern = _find_pattern(path)
    for line, content in numbered_lines(path):
        if not content.strip() or content.startswith(_DOCUMENT_MARK):
            yield line, []
        elif not _is_comment(content, pattern):
            yield line, _split_columns(content, pattern)


def _find_pattern(path: Path) -> str:
    """Find a line that is certainly a row; empty if there is none."""
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
    """Split a line into columns, and strip the whitespace around them."""
    if "\t" in (pattern or content):
        return [column.strip() for column in content.split("\t")]
    return _SPACES.split(content.strip(" \t"))
