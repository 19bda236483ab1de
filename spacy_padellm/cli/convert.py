"""`convert`: convert corpora to spaCy's binary format or JSON lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import Errors, require
from ..settings import SPANS_KEY
from .console import (
    FormatOption,
    LabelMapOption,
    echo_list,
    parse_label_map,
    parse_labels,
    shown_errors,
    with_progress,
)

if TYPE_CHECKING:
    from ..texts import AnnotatedText, Mention

SUFFIXES = (".spacy", ".jsonl")
# How many entities are listed without --verbose.
_LIMIT = 10


def convert(
    input_paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="IN...", help="Corpus files, or folders with files of brat.", exists=True
        ),
    ],
    output_path: Annotated[
        Path, typer.Argument(metavar="OUT", help="File to write, ending in .spacy or .jsonl.")
    ],
    format: FormatOption = "auto",
    lang: Annotated[str, typer.Option(help="Language of the tokenizer, e.g. en or zh.")] = "en",
    scheme: Annotated[
        str, typer.Option(help="For conll, csv: auto, iob1 (or mixed), bio, bioes, bilou or plain.")
    ] = "auto",
    token_column: Annotated[
        int, typer.Option(help="For conll, csv: column of the tokens, from 0.")
    ] = 0,
    tag_column: Annotated[
        int, typer.Option(help="For conll, csv: column of the tags, from 0, or -1 for the last.")
    ] = -1,
    offsets: Annotated[
        str,
        typer.Option(
            help="For paper: unit of offsets: auto, words, words-exclusive or characters."
        ),
    ] = "auto",
    tag_names: Annotated[
        str | None,
        typer.Option(
            metavar="O,B-PER,...", help="For huggingface: names of tags that are numbers, in order."
        ),
    ] = None,
    annotated_labels: Annotated[
        str | None,
        typer.Option(
            metavar="PER,ORG,...",
            help="Labels the corpus is annotated for, if it lacks annotations for others.",
        ),
    ] = None,
    label_map: LabelMapOption = None,
    drop: Annotated[
        str | None,
        typer.Option(metavar="X,Y,...", help="Labels to leave out, by their names in the file."),
    ] = None,
    part: Annotated[
        str | None,
        typer.Option(metavar="0:0.7", help="Convert only this part of the texts."),
    ] = None,
    shuffle_seed: Annotated[
        int | None,
        typer.Option(
            "--shuffle", metavar="SEED", help="Shuffle the texts before --part is applied."
        ),
    ] = None,
    spans_key: Annotated[
        str, typer.Option(help="Span group for nested or partly annotated entities.")
    ] = SPANS_KEY,
    verbose: Annotated[
        bool,
        typer.Option("--verbose", "-V", help="List all entities that are off token boundaries."),
    ] = False,
) -> None:
    """Convert a corpus to spaCy's binary format (.spacy) or to JSON lines (.jsonl). Several files
    of one format are joined.

    Prints what was written and the gold entities that don't match token boundaries.
    """
    with shown_errors():
        if output_path.suffix not in SUFFIXES:
            raise ValueError(Errors.P302.format(path=output_path))
        from ..corpus.formats import read_annotated_texts
        from ..corpus.options import ReadingOptions, shuffle, take_part

        options = ReadingOptions(
            format=format,
            scheme=scheme,
            token_column=token_column,
            tag_column=tag_column,
            offsets=offsets,
            tag_names=parse_labels(tag_names),
            annotated_labels=parse_labels(annotated_labels),
            label_map=parse_label_map(label_map or []),
            dropped_labels=parse_labels(drop),
        )
        texts = read_annotated_texts(*input_paths, options=options, spans_key=spans_key)
        if shuffle_seed is not None:
            texts = shuffle(texts, shuffle_seed)
        if part is not None:
            texts = take_part(texts, part)
        is_docbin = output_path.suffix == ".spacy"
        if is_docbin:
            missed = _write_docbin(output_path, texts, lang, spans_key)
        else:
            missed = _write_jsonl(output_path, texts)
        _echo_summary(texts, missed, is_docbin=is_docbin, verbose=verbose)
        typer.echo(f"Written to {output_path}")


# Which tokens, and the entities of each text that aren't on their boundaries.
_Missed = dict[str, list[list["Mention"]]]
_WRITTEN = "the written tokens"


def _write_jsonl(path: Path, texts: Sequence[AnnotatedText]) -> _Missed:
    from ..corpus.jsonl import write_jsonl

    path.parent.mkdir(parents=True, exist_ok=True)
    write_jsonl(path, with_progress(texts, len(texts)))
    return {_WRITTEN: [off_boundaries(each) for each in texts]}


def _write_docbin(path: Path, texts: Sequence[AnnotatedText], lang: str, spans_key: str) -> _Missed:
    require("spacy", "Writing a .spacy file")
    import spacy
    from spacy.tokens import DocBin

    from ..corpus.docs import docs_from_annotated_texts, off_tokens

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
    tokenizer = f"the tokenizer of spacy.blank({lang!r})"
    return {_WRITTEN: off_written, tokenizer: off_tokenizer}


def off_boundaries(annotated: AnnotatedText) -> list[Mention]:
    """Find the mentions that no run of the text's tokens covers exactly."""
    starts = {start for start, _ in annotated.source.tokens}
    ends = {end for _, end in annotated.source.tokens}
    return [each for each in annotated.mentions if each.start not in starts or each.end not in ends]


def count_overlapping(mentions: Sequence[Mention]) -> int:
    """Count the mentions of a text that share a character with another one, nested or crossing."""
    overlapping: set[int] = set()
    order = sorted(range(len(mentions)), key=lambda index: mentions[index])
    for place, left in enumerate(order):
        for right in order[place + 1 :]:
            if mentions[right].start >= mentions[left].end:
                break
            overlapping.update((left, right))
    return len(overlapping)


def _echo_summary(
    texts: Sequence[AnnotatedText], missed: _Missed, *, is_docbin: bool, verbose: bool
) -> None:
    # A .spacy file lacks those that no run of its tokens covers.
    lost = missed[_WRITTEN] if is_docbin else [[] for _ in texts]
    pairs = zip(texts, lost, strict=True)
    counts = Counter(m.label for each, without in pairs for m in each.mentions if m not in without)
    typer.echo(f"Texts: {len(texts)}")
    typer.echo(f"Entities: {counts.total()}")
    echo_list([f"{label}: {count}" for label, count in counts.most_common()], limit=None)
    overlapping = sum(count_overlapping(each.mentions) for each in texts)
    typer.echo(f"Nested or overlapping entities: {overlapping}")
    for tokens, mentions in missed.items():
        described = list(_describe(texts, mentions))
        typer.echo(f"Entities not on the boundaries of {tokens}: {len(described)}")
        echo_list(described, limit=None if verbose else _LIMIT)


def _describe(
    texts: Sequence[AnnotatedText], mentions: Sequence[Sequence[Mention]]
) -> Iterator[str]:
    for number, (annotated, listed) in enumerate(zip(texts, mentions, strict=True), start=1):
        for mention in listed:
            quoted = annotated.source.text[mention.start : mention.end]
            place = f"text {number}, characters {mention.start}-{mention.end}"
            yield f"{place}: {quoted!r} ({mention.label})"
