"""The command line: one app with the commands of the other modules."""

from __future__ import annotations

import typer

from .annotate import annotate
from .benchmark import benchmark, chart
from .calibrate import calibrate
from .compare import compare
from .convert import convert
from .evaluate import evaluate, scores
from .export import export
from .fetch import fetch
from .finetune import finetune
from .learn import learn
from .predict import predict
from .visualize import visualize

HELP = "Find named entities by parallel decoding: prepare corpora, train, predict, evaluate."


def create_app() -> typer.Typer:
    """Create the app with all commands. Heavy packages are imported only when a command runs."""
    app = typer.Typer(name="padellm", help=HELP, no_args_is_help=True, rich_markup_mode=None)
    corpora = (convert, fetch)
    models = (
        learn,
        finetune,
        annotate,
        predict,
        compare,
        benchmark,
        chart,
        evaluate,
        scores,
        calibrate,
        visualize,
        export,
    )
    for command in (*corpora, *models):
        app.command()(command)
    return app
