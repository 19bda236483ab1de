"""The ways into the command line, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_package_runs(corpus: Path, tmp_path: Path):
    out = tmp_path / "out.jsonl"
    result = run("-m", "spacy_padellm", "convert", corpus, out)
    assert result.returncode == 0, result.stderr
    assert out.is_file()
    # No progress bar where there's no terminal.
    assert result.stderr == ""


def test_spacy_runs_it(corpus: Path, tmp_path: Path):
    pytest.importorskip("spacy")
    out = tmp_path / "out.spacy"
    result = run("-m", "spacy", "padellm", "convert", corpus, out)
    assert result.returncode == 0, result.stderr
    assert out.is_file()


def test_setting_up_the_commands_is_light():
    code = (
        "import sys; from spacy_padellm.cli.app import create_app; create_app();"
        "heavy = {'torch', 'transformers', 'spacy', 'weasel', 'spacy_padellm.texts'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    result = run("-c", code)
    assert result.returncode == 0, result.stderr


def test_adding_them_to_spacy_is_light():
    pytest.importorskip("spacy")
    # torch is left out: spaCy itself imports it, through thinc.
    code = (
        "import sys; from spacy_padellm.cli.spacy_app import app;"
        "assert 'padellm' in [group.name or group.typer_instance.info.name"
        " for group in app.registered_groups];"
        "heavy = {'transformers', 'spacy_padellm.texts'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    result = run("-c", code)
    assert result.returncode == 0, result.stderr
