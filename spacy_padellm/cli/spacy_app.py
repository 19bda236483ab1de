"""The commands as a part of spaCy's own command line: `python -m spacy padellm ...`."""

from __future__ import annotations

from spacy.cli import app

from .app import create_app

# spaCy only loads the entry point and does nothing with it, so loading is what adds the commands.
padellm = create_app()
app.add_typer(padellm)
