"""`scores`: the scores in a file that `spacy evaluate` wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .messages import shown_errors

SCORES = ("mentions_p", "mentions_r", "mentions_f", "ents_p", "ents_r", "ents_f")


def scores(
    path: Annotated[
        Path, typer.Argument(metavar="METRICS", help="JSON file.", exists=True, dir_okay=False)
    ],
) -> None:
    """Print the mention and entity scores that `spacy evaluate` wrote to a file."""
    with shown_errors():
        metrics = json.loads(path.read_text(encoding="utf8"))
    for name in SCORES:
        value = metrics.get(name)
        typer.echo(f"{name:<10}  {'-' if value is None else format(value, '.4f')}")
