from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from spacy_padellm.cli.app import create_app


@pytest.fixture
def run() -> Callable[..., Result]:
    """Run a command and return what it printed and its exit status."""

    def invoke(*arguments: str | Path, env: dict[str, str | None] | None = None) -> Result:
        return CliRunner().invoke(create_app(), [str(each) for each in arguments], env=env)

    return invoke


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A small corpus with two entities."""
    path = tmp_path / "corpus.conll"
    path.write_text("Ada\tB-person\nof\tO\n\nNew\tB-LOC\nYork\tI-LOC\n", encoding="utf-8")
    return path
