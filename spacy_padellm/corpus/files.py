"""Corpus files of any kind, spaCy's included."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..settings import SPANS_KEY
from ..optional import require
from ..texts import AnnotatedText
from .formats import read_annotated_texts


def read_files(paths: Iterable[str | Path], *, spans_key: str = SPANS_KEY) -> list[AnnotatedText]:
    """paths (Iterable[Union[str, Path]]): Files of any format of `convert`, or .spacy files.
    spans_key (str): The docs' span group with gold mentions.
    RETURNS (List[AnnotatedText]): Their texts, one file's after the other's; of docs those that
        are annotated.
    RAISES (ValueError): A file cannot be read.
    RAISES (ImportError): A .spacy file, and spaCy isn't installed.
    """
    texts: list[AnnotatedText] = []
    for path in map(Path, paths):
        is_binary = path.suffix == ".spacy"
        texts += _read_docs(path, spans_key) if is_binary else read_annotated_texts(path)
    return texts


def _read_docs(path: Path, spans_key: str) -> list[AnnotatedText]:
    require("spacy", f"Reading {path}")
    from spacy.vocab import Vocab

    from .docs import annotated_text, has_gold, load_docs

    docs = load_docs(path, Vocab())
    return [annotated_text(doc, spans_key) for doc in docs if has_gold(doc, spans_key)]
