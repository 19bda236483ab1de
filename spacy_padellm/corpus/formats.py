"""Read a corpus in any format that the package knows."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import dropwhile, islice, takewhile
from pathlib import Path
from typing import Any

from ..errors import Errors, require
from ..settings import SPANS_KEY
from ..texts import AnnotatedText, TokenizedText
from .conll import is_conllu_with_tags, parse_conll
from .jsonl import parse_jsonl
from .lines import NumberedText, numbered_lines, numbered_rows
from .options import DEFAULTS, ReadingOptions
from .paper import parse_paper
from .records import parse_records, read_document
from .standoff import BRAT_SUFFIX, WEBANNO_MARK, parse_brat, parse_webanno
from .tables import has_a_text_in_each_row, is_csv, parse_csv, parse_huggingface
from .tags import are_nameless, are_plain, split_tag
from .tools import TOOLS, WHY_NONE, parse_value, recognize, unknown_fields

# The begin of a Python file with a list, or with other code before it.
_PYTHON = re.compile(r"\s*\w+\s*(:[^=]+)?=\s*[\[(]|import \w|from [\w.]+ import \w")
# The begin of XML. A text may begin with "<" as well.
_XML = re.compile(rb"<\?xml|<!DOCTYPE|<[A-Za-z][^<>]*>\s*<[A-Za-z]")
# The begin of an object, or of an array of objects.
_OBJECT = re.compile(r"\s*(\[\s*)?(\{\s*(\"|$)|$)")
# Rows of a file that are looked at to find out its format.
_SAMPLE = 1000
_SAMPLE_OF_RECORDS = 20
# The first bytes of files that cannot be read → what they are, and what to do.
_FOREIGN = {
    b"PK\x03\x04": ("a ZIP archive or an Office document", "Unpack it, or save it as CSV"),
    b"\x1f\x8b": ("a gzip archive", "Unpack it with gunzip"),
    b"%PDF": ("a PDF", "Pass the annotation itself"),
    b"PAR1": ("a Parquet file", "Write its rows as JSON lines"),
    b"ARROW1": ("an Arrow file", "Write its rows as JSON lines"),
    b"SQLite format 3": ("a database of SQLite", "Export the annotation with its program"),
    b"\xd0\xcf\x11\xe0": ("an old Excel or Word file", "Save it as CSV"),
    **dict.fromkeys(
        (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"),
        ("a pickle of Python", "Load it in Python, and write its records as JSON lines"),
    ),
    b"version https://git-lfs": (
        "a pointer of Git LFS in the place of a file",
        "Fetch the file: `git lfs pull`",
    ),
    **dict.fromkeys(
        (b"<!doctype html", b"<html"),
        ("a page of HTML, perhaps one of an error", "Download or export the file itself again"),
    ),
    b"\xff\xfe": ("text in UTF-16", "Save it as UTF-8"),
    b"\xfe\xff": ("text in UTF-16", "Save it as UTF-8"),
    b"#begin document": (
        "a CoNLL-2012 file (OntoNotes), whose entities are in brackets",
        "Convert it to a token and a tag on each line",
    ),
}


Parser = Callable[[Path, ReadingOptions], list[NumberedText]]


def _parse_tool(name: str) -> Parser:
    why_none = WHY_NONE.get(name, "")
    return lambda path, options: parse_records(path, partial(parse_value, name, options), why_none)


_PARSERS: dict[str, Parser] = {
    "paper": parse_paper,
    "conll": parse_conll,
    "csv": parse_csv,
    "jsonl": lambda path, options: parse_jsonl(path, with_gold=options.with_gold),
    "text": lambda path, options: parse_lines(path),
    "brat": lambda path, options: parse_brat(path),
    "webanno": lambda path, options: parse_webanno(path, with_chunks=options.format == "webanno"),
    "huggingface": parse_huggingface,
    **{name: _parse_tool(name) for name in TOOLS},
}
FORMATS = ("auto", *_PARSERS)


def read_annotated_texts(
    *paths: str | Path, options: ReadingOptions = DEFAULTS, spans_key: str = SPANS_KEY
) -> list[AnnotatedText]:
    """Read the texts of corpus files, in order, with their gold mentions.

    Args:
        *paths: The files. With the format "auto" they may be .spacy files, too. Their docs without
            annotation are skipped, if gold is needed.
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
        return list(enumerate(_read_docs(path, options, spans_key), start=1))
    name = options.format
    if name == "auto":
        or_text = not options.with_gold and path.suffix == ".txt"
        name = detect_format(path, or_text=or_text, columns=options.columns)
    numbered = _PARSERS[name](path, options)
    if not numbered:
        raise ValueError(Errors.P105.format(path=path))
    return numbered


def _read_docs(path: Path, options: ReadingOptions, spans_key: str) -> list[AnnotatedText]:
    require("spacy", f"Reading {path}")
    from spacy.vocab import Vocab

    from .docs import annotated_text, gold_spans, has_gold, load_docs

    texts = []
    docs = load_docs(path, Vocab())
    if options.with_gold and not any(gold_spans(doc, spans_key) for doc in docs):
        groups = Counter(key for doc in docs for key, group in doc.spans.items() if group)
        names = ", ".join(f"{key} (docs: {count})" for key, count in groups.items())
        if names:
            raise ValueError(Errors.P135.format(path=path, spans_key=spans_key, groups=names))
        if not any(has_gold(doc, spans_key) for doc in docs):
            reason = f"no doc is annotated for entities, or has a span group {spans_key!r}"
            raise ValueError(Errors.P134.format(path=path, count=len(docs), reason=reason))
    for doc in docs:
        text = annotated_text(doc, spans_key)
        if has_gold(doc, spans_key):
            texts.append(text)
        elif not options.with_gold:
            texts.append(replace(text, labels=(), unknown=()))
    return texts


def parse_lines(path: Path) -> list[NumberedText]:
    """Read a file of plain text, with a text on each line that is not blank.

    Returns:
        The texts, each with the number of its line. They are annotated for no label.
    """
    lines = ((line, content.strip()) for line, content in numbered_lines(path))
    return [
        (line, AnnotatedText(TokenizedText.split(content), (), labels=(), has_tokens=False))
        for line, content in lines
        if content
    ]


def detect_format(
    path: Path, *, or_text: bool = False, columns: tuple[int, int] = DEFAULTS.columns
) -> str:
    """Detect the format of a file by its content.

    Args:
        path: The file, or a folder with files of brat.
        or_text: Whether a file of no other format is one of plain text ("text").
        columns: The columns with tokens and tags of a conll file. If they are not the usual ones,
            tags in this column are enough.

    Raises:
        ValueError: The format is none of those that can be read, or the file is empty.
    """
    if path.is_dir() or path.suffix == BRAT_SUFFIX:
        return "brat"
    _check_readable(path)
    with_content = (numbered for numbered in numbered_lines(path) if numbered[1].strip())
    first = next(with_content, None)
    if first is None:
        raise ValueError(Errors.P105.format(path=path))
    line, content = first
    if content.startswith(WEBANNO_MARK):
        return "webanno"
    found = _detect_json(path, first, or_text=or_text)
    if found is None and is_csv(path):
        found = "csv"
    if found is None and _has_tag_column(path, columns, strict=or_text):
        found = "conll"
    if found is None and or_text:
        found = "text"
    if found is None and has_a_text_in_each_row(path):
        raise ValueError(Errors.P137.format(path=path))
    if found is None and path.with_suffix(BRAT_SUFFIX).is_file():
        annotation = path.with_suffix(BRAT_SUFFIX)
        raise ValueError(Errors.P139.format(path=path, annotation=annotation))
    if found is None:
        known = ", ".join(name for name in FORMATS[1:] if name != "text")
        raise ValueError(Errors.P103.format(path=path, line=line, formats=known))
    return found


def _check_readable(path: Path) -> None:
    """Raise a `ValueError` that names what a file is, if it is of a kind that cannot be read."""
    begin = b""
    with suppress(OSError), path.open("rb") as file:
        begin = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    begins = (begin, begin.lower())
    marks = (mark for mark in _FOREIGN if any(each.startswith(mark) for each in begins))
    found = next(map(_FOREIGN.get, marks), None)
    if found is None and _XML.match(begin):
        found = ("XML, as of GATE, UIMA or TEI", "Export it as WebAnno TSV 3, CoNLL or JSON")
    if found is not None:
        raise ValueError(Errors.P129.format(path=path, kind=found[0], remedy=found[1]))


def _detect_json(path: Path, first: tuple[int, str], *, or_text: bool) -> str | None:
    """Detect the format of a file of JSON, or of Python's literals; `None` if it is neither.

    Args:
        path: The file.
        first: The first line with content, and its number.
        or_text: Whether what begins like JSON, but is none, may be a text.
    """
    line, content = first
    value: Any = None
    with suppress(json.JSONDecodeError):
        value = json.loads(content)
    # spaCy's training data in a Python file is assigned to a name.
    is_python = path.suffix == ".py" or _PYTHON.match(content)
    is_open = content.lstrip()[:1] in "[{(" or is_python
    if value == []:
        raise ValueError(Errors.P105.format(path=path))
    if not isinstance(value, list | dict) and not is_open:
        return None
    if isinstance(value, list) and value and isinstance(value[0], str):
        return recognize(value) or "paper"
    records: list[Any] = []
    # What is wrong in a Python file is known already.
    try:
        for number, record in islice(read_document(path), _SAMPLE_OF_RECORDS):
            line = line if records else number
            records.append(record)
    except ValueError:
        is_certain = path.suffix == ".py" or (_OBJECT.match(content) and not or_text)
        if is_certain and not records:
            raise
    else:
        if not records:
            raise ValueError(Errors.P105.format(path=path))
    if any(isinstance(record, dict) and "mentions" in record for record in records):
        return "jsonl"
    # A text without mentions may lack what tells the format.
    known = next(filter(None, map(recognize, sorted(records, key=_is_bare))), None)
    if known is None and records:
        begin = records[0]
        if isinstance(begin, dict) and "text" not in begin:
            raise unknown_fields(path, line, begin)
        known = "paper" if isinstance(begin, list) else "jsonl" if isinstance(begin, dict) else None
    return known


def _is_bare(record: Any) -> bool:
    """Tell whether nothing is listed in a record, except tokens."""
    is_object = isinstance(record, dict)
    return is_object and not any(
        isinstance(each, list) and each for name, each in record.items() if name != "tokens"
    )


def _has_tag_column(path: Path, chosen: tuple[int, int], *, strict: bool) -> bool:
    """Tell whether a column other than the first has a tag in each row of the first sentence.

    Labels without prefixes count if each row of the sample has `O` or one of few labels there.

    Args:
        path: The file.
        chosen: The columns of tokens and tags. If they are not the usual ones, the first may
            have the tags.
        strict: Whether all rows of the sample have to have as many columns, and a tag there.
    """
    sample = list(islice(numbered_rows(path), _SAMPLE))
    rows = dropwhile(lambda row: not row[1], sample)
    first = [columns for _, columns in takewhile(lambda row: row[1], rows)]
    if strict:
        first = [columns for _, columns in sample if columns]
        if len({len(columns) for columns in first}) != 1:
            return False
    if chosen != DEFAULTS.columns:
        tag = chosen[1]
        column = [row[tag] for row in first if -len(row) <= tag < len(row)]
        is_tagged = all(map(split_tag, column)) or are_plain(column) or are_nameless(column)
        if column and len(column) == len(first) and is_tagged:
            return True
    tagged = [
        {place for place, each in enumerate(columns) if place and split_tag(each)}
        for columns in first
    ]
    if tagged and set.intersection(*tagged):
        return True
    width = min((len(columns) for _, columns in sample if columns), default=0)
    columns_of = ([row[place] for _, row in sample if row] for place in range(1, width))
    # Words of prose are no labels.
    return is_conllu_with_tags(sample) or any(
        are_nameless(column) or (are_plain(column) and column.count("O") >= max(2, len(column) / 3))
        for column in columns_of
    )
