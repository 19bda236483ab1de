"""Read a corpus in any format that the package knows."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ..errors import Errors, require
from ..settings import SPANS_KEY
from ..texts import AnnotatedText
from .conll import parse_conll
from .jsonl import parse_jsonl
from .lines import NumberedText, numbered_lines, numbered_rows
from .options import DEFAULTS, ReadingOptions
from .paper import parse_paper
from .tags import split_tag

_PARSERS: dict[str, Callable[[Path, ReadingOptions], list[NumberedText]]] = {
    "paper": parse_paper,
    "conll": parse_conll,
    "jsonl": lambda path, options: parse_jsonl(path),
}
FORMATS = ("auto", *_PARSERS)


def read_annotated_texts(
    *paths: str | Path, options: ReadingOptions = DEFAULTS, spans_key: str = SPANS_KEY
) -> list[AnnotatedText]:
    """Read the texts of corpus files, in order, with their gold mentions.

    Args:
        *paths: The files. With the format "auto" they may be .spacy files, too. Their docs without
            annotation are skipped.
        options: How to read them.
        spans_key: The span group of docs with gold mentions.

    Returns:
        The texts. Every file except a .spacy file has at least one.

    Raises:
        ValueError: An option or a file is wrong.
        ImportError: A file is a .spacy file, and spaCy isn't installed.
    """
    return [
        options.state_labels(path, line, options.relabel(annotated))
        for path in map(Path, paths)
        for line, annotated in _read(path, options, spans_key)
    ]


def _read(path: Path, options: ReadingOptions, spans_key: str) -> list[NumberedText]:
    if options.format not in FORMATS:
        choices = {"value": options.format, "choices": FORMATS}
        raise ValueError(Errors.P104.format(option="format", **choices))
    if options.format == "auto" and path.suffix == ".spacy":
        return list(enumerate(_read_docs(path, spans_key), start=1))
    name = detect_format(path) if options.format == "auto" else options.format
    numbered = _PARSERS[name](path, options)
    if not numbered:
        raise ValueError(Errors.P105.format(path=path))
    return numbered


def _read_docs(path: Path, spans_key: str) -> list[AnnotatedText]:
    require("spacy", f"Reading {path}")
    from spacy.vocab import Vocab

    from .docs import annotated_text, has_gold, load_docs

    docs = load_docs(path, Vocab())
    return [annotated_text(doc, spans_key) for doc in docs if has_gold(doc, spans_key)]


def detect_format(path: Path) -> str:
    """Detect the format of a text file.

    If the first line with content is a JSON array, the format is "paper". If it is a JSON object,
    it is "jsonl". Otherwise it is "conll", if the rows of the first sentence have a column with a
    tag in each row. The first column does not count.

    Raises:
        ValueError: The format is none of these, or the file is empty.
    """
    with_content = (numbered for numbered in numbered_lines(path) if numbered[1].strip())
    first = next(with_content, None)
    if first is None:
        raise ValueError(Errors.P105.format(path=path))
    line, content = first
    value: object = None
    with suppress(json.JSONDecodeError):
        value = json.loads(content)
    if isinstance(value, list):
        return "paper"
    if isinstance(value, dict):
        return "jsonl"
    if _has_tag_column(path):
        return "conll"
    raise ValueError(Errors.P103.format(path=path, line=line, formats=", ".join(FORMATS[1:])))


def _has_tag_column(path: Path) -> bool:
    tag_columns: set[int] | None = None
    for _, columns in numbered_rows(path):
        if columns:
            found = {place for place, each in enumerate(columns) if place and split_tag(each)}
            tag_columns = found if tag_columns is None else tag_columns & found
        elif tag_columns is not None:
            break
    return bool(tag_columns)
