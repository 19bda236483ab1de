"""Rows of token-per-line files: columns, comments and document marks told apart."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from .lines import numbered_lines

_DOCUMENT_MARK = "-DOCSTART-"
# The comments of CoNLL-U: "# text = ...", "# newdoc id = ...", "# newpar".
_CONLLU_COMMENT = re.compile(r"# +(?:[\w.:-]+(?: \w+)? *= |(?:newdoc|newpar)$)")
_SPACES = re.compile(r"[ \t]+")


def numbered_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Read the rows of a token-per-line file. Columns are separated by tabs if the first row that
    can't be a comment or a document mark has a tab, else by runs of spaces. If all rows start
    with `#`, one with a tab serves as that first row.

    Lines that start with `-DOCSTART-` end a sentence. A line that starts with `#` is a comment if
    it has the form of CoNLL-U (`# key = value`), or if it has no tab while tabs separate the
    columns, or another number of columns than that first row while spaces do. All others are
    tokens, such as `#` itself or a hashtag.

    path (Path): The file.
    YIELDS (Tuple[int, List[str]]): The number of a line and its columns, none if it's blank or
        marks a document.
    """
    pattern = _find_pattern(path)
    for line, content in numbered_lines(path):
        if not content.strip() or content.startswith(_DOCUMENT_MARK):
            yield line, []
        elif not is_comment(content, pattern):
            yield line, split_columns(content, pattern)


def is_comment(content: str, pattern: str) -> bool:
    """Tell a comment from a token that starts with `#`.

    content (str): A line.
    pattern (str): A line that's surely a row of the file, empty if there's none.
    RETURNS (bool): Whether the line is a comment.
    """
    if not content.startswith("#"):
        return False
    if _CONLLU_COMMENT.match(content):
        return True
    if "\t" in pattern:
        return "\t" not in content
    return bool(pattern) and len(split_columns(content, pattern)) != len(
        split_columns(pattern, pattern)
    )


def split_columns(content: str, pattern: str) -> list[str]:
    """Split a line into its columns, without whitespace around them.

    content (str): A line.
    pattern (str): A line that's surely a row of the file, empty if there's none.
    RETURNS (List[str]): The columns.
    """
    if "\t" in (pattern or content):
        return [column.strip() for column in content.split("\t")]
    return _SPACES.split(content.strip(" \t"))


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
