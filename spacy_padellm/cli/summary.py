"""What `convert` prints: what a corpus holds and which entities miss token boundaries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from ..corpus.boundaries import count_overlapping
from ..texts import AnnotatedText, Mention
from .messages import echo_list

# How many entities are listed without --verbose.
_LIMIT = 10


@dataclass(frozen=True)
class Missed:
    """Gold entities that aren't on the boundaries of some tokens.

    tokens (str): Which tokens.
    mentions (Sequence[Sequence[Mention]]): The entities of each text.
    """

    tokens: str
    mentions: Sequence[Sequence[Mention]]


def echo_summary(
    path: Path, texts: Sequence[AnnotatedText], missed: Sequence[Missed], *, verbose: bool
) -> None:
    """Print a summary of a written corpus.

    path (Path): The file.
    texts (Sequence[AnnotatedText]): Its texts.
    missed (Sequence[Missed]): Entities that aren't on token boundaries.
    verbose (bool): Whether to list all of them.
    """
    counts = Counter(mention.label for each in texts for mention in each.mentions)
    typer.echo(f"Texts: {len(texts)}")
    typer.echo(f"Entities: {counts.total()}")
    echo_list([f"{label}: {count}" for label, count in counts.most_common()], limit=None)
    overlapping = sum(count_overlapping(each.mentions) for each in texts)
    typer.echo(f"Nested or overlapping entities: {overlapping}")
    for each in missed:
        described = _describe(texts, each.mentions)
        typer.echo(f"Entities not on the boundaries of {each.tokens}: {len(described)}")
        echo_list(described, limit=None if verbose else _LIMIT)
    typer.echo(f"Written to {path}")


def _describe(texts: Sequence[AnnotatedText], mentions: Sequence[Sequence[Mention]]) -> list[str]:
    described = []
    for number, (annotated, listed) in enumerate(zip(texts, mentions, strict=True), start=1):
        for mention in listed:
            quoted = annotated.source.text[mention.start : mention.end]
            place = f"text {number}, characters {mention.start}-{mention.end}"
            described.append(f"{place}: {quoted!r} ({mention.label})")
    return described
