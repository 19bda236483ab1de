"""Read a corpus of any format the package knows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import Errors
from ..texts import AnnotatedText
from .columns import numbered_rows
from .conll import parse_conll
from .jsonl import parse_jsonl
from .labels import check_label_options, drop_labels, rename_labels, state_labels
from .lines import NumberedText, numbered_lines
from .paper import parse_paper
from .tags import split_tag

FORMATS = ("auto", "paper", "conll", "jsonl")


def read_annotated_texts(
    path: str | Path,
    *,
    format: str = "auto",
    scheme: str = "auto",
    token_column: int = 0,
    tag_column: int = -1,
    offsets: str = "auto",
    annotated_labels: Sequence[str] | None = None,
    label_map: Mapping[str, str] | None = None,
    dropped_labels: Sequence[str] | None = None,
) -> list[AnnotatedText]:
    """Read the texts of a corpus with their gold mentions.

    path (Union[str, Path]): The file.
    format (str): One of `FORMATS`; "auto" tells it by the content, see `detect_format`.
    scheme (str): Tag scheme of a conll file, see `parse_conll`.
    token_column (int): Column of the tokens of a conll file.
    tag_column (int): Column of the tags of a conll file.
    offsets (str): What offsets count in a file of the paper format, see `parse_paper`.
    annotated_labels (Optional[Sequence[str]]): The labels the corpus is annotated for, after
        renaming; `None` for all, or for what a jsonl file states.
    label_map (Optional[Mapping[str, str]]): New labels by old ones.
    dropped_labels (Optional[Sequence[str]]): Old labels that are left out.
    RETURNS (List[AnnotatedText]): The texts, at least one.
    RAISES (ValueError): If an option or the file is wrong.
    """
    path = Path(path)
    label_map = label_map or {}
    check_label_options(annotated_labels, label_map)
    if format not in FORMATS:
        raise ValueError(Errors.P104.format(option="format", value=format, choices=FORMATS))
    name = detect_format(path) if format == "auto" else format
    numbered: list[NumberedText]
    if name == "paper":
        numbered = parse_paper(path, offsets=offsets)
    elif name == "jsonl":
        numbered = parse_jsonl(path)
    else:
        numbered = parse_conll(
            path, scheme=scheme, token_column=token_column, tag_column=tag_column
        )
    if not numbered:
        raise ValueError(Errors.P105.format(path=path))
    kept = ((line, drop_labels(annotated, dropped_labels or ())) for line, annotated in numbered)
    return [
        state_labels(path, (line, rename_labels(annotated, label_map)), annotated_labels)
        for line, annotated in kept
    ]


def detect_format(path: Path) -> str:
    """Tell the format of a file by its first line with content: a JSON array is "paper", a JSON
    object "jsonl". Else it's "conll" if the rows of the first sentence have a column, other than
    the first, that holds a tag in each of them.

    path (Path): The file.
    RETURNS (str): The format.
    RAISES (ValueError): If it's none of these, or the file is empty.
    """
    with_content = (numbered for numbered in numbered_lines(path) if numbered[1].strip())
    first = next(with_content, None)
    if first is None:
        raise ValueError(Errors.P105.format(path=path))
    line, content = first
    value = _as_json(content)
    if isinstance(value, list):
        return "paper"
    if isinstance(value, dict):
        return "jsonl"
    if _has_tag_column(path):
        return "conll"
    raise ValueError(Errors.P103.format(path=path, line=line, formats=", ".join(FORMATS[1:])))


def _as_json(content: str) -> Any:
    try:
        return json.loads(content)
    except json.JSONDecodeError:
        return None


def _has_tag_column(path: Path) -> bool:
    tag_columns: set[int] | None = None
    for _, columns in numbered_rows(path):
        if columns:
            found = {place for place, each in enumerate(columns) if place and split_tag(each)}
            tag_columns = found if tag_columns is None else tag_columns & found
        elif tag_columns is not None:
            break
    return bool(tag_columns)
