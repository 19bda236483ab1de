"""`convert`: corpora of other formats to spaCy's binary format or JSON lines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..settings import SPANS_KEY
from ..errors import Errors
from ..optional import require
from .messages import shown_errors
from .options import FormatOption, parse_labels
from .progress import with_progress

if TYPE_CHECKING:
    from ..texts import AnnotatedText
    from .summary import Missed

SUFFIXES = (".spacy", ".jsonl")


def convert(
    input_paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="IN...", help="Corpus files, one or several.", exists=True, dir_okay=False
        ),
    ],
    output_path: Annotated[
        Path, typer.Argument(metavar="OUT", help="File to write, ending in .spacy or .jsonl.")
    ],
    format: FormatOption = "auto",
    lang: Annotated[str, typer.Option(help="Language, for the tokenizer, e.g. en or zh.")] = "en",
    scheme: Annotated[
        str, typer.Option(help="conll: auto, iob1 (or mixed), bio, bioes or bilou.")
    ] = "auto",
    token_column: Annotated[int, typer.Option(help="conll: column of the tokens, from 0.")] = 0,
    tag_column: Annotated[
        int, typer.Option(help="conll: column of the tags, from 0, or -1 for the last.")
    ] = -1,
    offsets: Annotated[
        str, typer.Option(help="paper: auto, words, words-exclusive or characters.")
    ] = "auto",
    annotated_labels: Annotated[
        str | None,
        typer.Option(
            metavar="PER,ORG,...",
            help="Labels the corpus is annotated for, if others are unknown rather than absent.",
        ),
    ] = None,
    label_map: Annotated[
        list[str] | None, typer.Option("--map", metavar="OLD=NEW", help="Rename a label.")
    ] = None,
    drop: Annotated[
        str | None,
        typer.Option(metavar="X,Y,...", help="Labels to leave out, as they are in the file."),
    ] = None,
    part: Annotated[
        str | None,
        typer.Option(metavar="0:0.7", help="Only this part of the texts."),
    ] = None,
    shuffle_seed: Annotated[
        int | None,
        typer.Option(
            "--shuffle", metavar="SEED", help="Shuffle the texts, before a part is taken."
        ),
    ] = None,
    spans_key: Annotated[
        str, typer.Option(help="Span group for nested and partially annotated gold.")
    ] = SPANS_KEY,
    verbose: Annotated[bool, typer.Option("--verbose", "-V", help="List all entities.")] = False,
) -> None:
    """Convert a corpus to spaCy's binary format (.spacy) or to JSON lines (.jsonl). Several files
    of the same format become one.

    Prints what was written and the gold entities that aren't on token boundaries.
    """
    with shown_errors():
        if output_path.suffix not in SUFFIXES:
            raise ValueError(Errors.P302.format(path=output_path))
        from ..corpus.formats import read_annotated_texts
        from ..corpus.parts import shuffle, take_part
        from .summary import echo_summary

        options: dict[str, Any] = {
            "format": format,
            "scheme": scheme,
            "token_column": token_column,
            "tag_column": tag_column,
            "offsets": offsets,
            "annotated_labels": parse_labels(annotated_labels),
            "label_map": _parse_label_map(label_map or []),
            "dropped_labels": parse_labels(drop),
        }
        texts = [text for path in input_paths for text in read_annotated_texts(path, **options)]
        if shuffle_seed is not None:
            texts = shuffle(texts, shuffle_seed)
        if part is not None:
            texts = take_part(texts, part)
        if output_path.suffix == ".spacy":
            missed = _write_docbin(output_path, texts, lang, spans_key)
        else:
            missed = _write_jsonl(output_path, texts)
        echo_summary(output_path, texts, missed, verbose=verbose)


def _parse_label_map(values: Sequence[str]) -> dict[str, str]:
    label_map: dict[str, str] = {}
    for value in values:
        old, equals, new = value.partition("=")
        if not (old and equals and new):
            raise ValueError(Errors.P303.format(value=value))
        if old in label_map:
            raise ValueError(Errors.P304.format(label=old))
        label_map[old] = new
    return label_map


def _write_jsonl(path: Path, texts: Sequence[AnnotatedText]) -> list[Missed]:
    from ..corpus.boundaries import off_boundaries
    from ..corpus.jsonl import write_jsonl
    from .summary import Missed

    path.parent.mkdir(parents=True, exist_ok=True)
    write_jsonl(path, with_progress(texts, len(texts)))
    off = [off_boundaries(each.source.tokens, each.mentions) for each in texts]
    return [Missed("the written tokens", off)]


def _write_docbin(
    path: Path, texts: Sequence[AnnotatedText], lang: str, spans_key: str
) -> list[Missed]:
    require("spacy", "Writing a .spacy file")
    import spacy
    from spacy.tokens import DocBin

    from ..corpus.docs import docs_from_annotated_texts, off_tokens
    from .summary import Missed

    nlp = spacy.blank(lang)
    docbin = DocBin(store_user_data=True)
    off_written, off_tokenizer = [], []
    pairs = zip(texts, docs_from_annotated_texts(texts, nlp, spans_key=spans_key), strict=True)
    for annotated, (doc, misaligned) in with_progress(pairs, len(texts)):
        docbin.add(doc)
        off_written.append(misaligned)
        # What a pipeline of the language would see of texts that bring tokens of their own.
        off_tokenizer.append(off_tokens(nlp.make_doc(doc.text), annotated.mentions))
    path.parent.mkdir(parents=True, exist_ok=True)
    docbin.to_disk(path)
    return [
        Missed("the written tokens", off_written),
        Missed(f"the tokenizer of spacy.blank({lang!r})", off_tokenizer),
    ]
