"""The command line: one module a command, put together here."""

from __future__ import annotations

import typer

from .convert import convert
from .fetch import fetch

HELP = "Convert corpora for spacy-padellm and fetch the assets of a project."


def create_app() -> typer.Typer:
    """Put the commands together. Their modules import what they run on only when they run.

    RETURNS (typer.Typer): The app.
    """
    app = typer.Typer(name="padellm", help=HELP, no_args_is_help=True, rich_markup_mode=None)
    for command in (convert, fetch):
        app.command()(command)
    return app
