"""Lines of a text file with their numbers, so that every error can name the place."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import Errors
from ..texts import AnnotatedText

# A text and the number of the line it starts on.
NumberedText = tuple[int, AnnotatedText]


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Read the lines of a file, without their line ends. Only a line feed ends a line: tokens may
    hold the other characters that Python splits lines at.

    path (Path): A UTF-8 file.
    YIELDS (Tuple[int, str]): The number of a line, counted from 1, and the line.
    RAISES (ValueError): If the file can't be opened or a line isn't UTF-8.
    """
    try:
        with path.open("rb") as file:
            for line, content in enumerate(file, start=1):
                yield line, _decode(path, line, content).rstrip("\r\n")
    except OSError as error:
        raise ValueError(Errors.P101.format(path=path, reason=error.strerror)) from error


def numbered_json(path: Path) -> Iterator[tuple[int, Any]]:
    """Read the values of a file with one JSON value a line; blank lines hold none.

    path (Path): The file.
    YIELDS (Tuple[int, Any]): The number of a line and its value.
    RAISES (ValueError): If the file can't be read or a line isn't JSON.
    """
    for line, content in numbered_lines(path):
        if not content.strip():
            continue
        try:
            yield line, json.loads(content)
        except json.JSONDecodeError as error:
            reason = f"{error.msg} at character {error.pos}"
            raise ValueError(Errors.P106.format(path=path, line=line, reason=reason)) from error


def check_encodable(path: Path, line: int, text: str) -> None:
    """Check that a text can be written to a file: JSON escapes can spell half a surrogate pair.

    path (Path): The file the text is from.
    line (int): The line it's on.
    text (str): The text.
    RAISES (ValueError): If it can't.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        character = ascii(text[error.start])
        message = Errors.P120.format(path=path, line=line, character=character)
        raise ValueError(message) from error


def _decode(path: Path, line: int, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig" if line == 1 else "utf-8")
    except UnicodeDecodeError as error:
        message = Errors.P102.format(path=path, line=line, reason=error.reason)
        raise ValueError(message) from error
