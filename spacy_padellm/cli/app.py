"""The command line: the commands of the other modules, put together."""

from __future__ import annotations

import typer

from .benchmark import benchmark
from .compare import compare
from .convert import convert
from .evaluate import evaluate, scores
from .export import export
from .fetch import fetch
from .finetune import finetune
from .predict import predict
from .visualize import visualize

HELP = "Named entities by parallel decoding: corpora, predictions, comparisons, measurements."


def create_app() -> typer.Typer:
    """Put the commands together. Their modules import what they run on only when they run."""
    app = typer.Typer(name="padellm", help=HELP, no_args_is_help=True, rich_markup_mode=None)
    corpora = (convert, fetch)
    models = (finetune, predict, compare, benchmark, evaluate, scores, visualize, export)
    for command in (*corpora, *models):
        app.command()(command)
    return app
