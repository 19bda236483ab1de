from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from typer.testing import Result


@pytest.fixture
def config(toy_checkpoint: Path, toy_corpus: Path, tmp_path: Path) -> Path:
    pytest.importorskip("accelerate")
    path = tmp_path / "config.yaml"
    stated = {
        "checkpoint": str(toy_checkpoint),
        "output": str(tmp_path / "out"),
        "train": str(toy_corpus),
        "dev": str(toy_corpus),
        "row_tokens": 300,
        "training": {"use_cpu": True, "max_steps": 2, "disable_tqdm": True, "eval_steps": 2},
    }
    path.write_text(yaml.safe_dump(stated))
    return path


def test_a_checkpoint_is_trained(run: Callable[..., Result], config: Path, tmp_path: Path):
    result = run("finetune", config)
    assert result.exit_code == 0, result.output
    assert "24 texts in" in result.stdout and "as separate sequences" in result.stdout
    assert "eval_mentions_f: 1.0" in result.stdout
    assert f"{tmp_path / 'out'}: a checkpoint for the labels LOC, ORG, PER" in result.stdout
    assert (tmp_path / "out" / "padellm.json").is_file()
    again = run("finetune", config)
    assert again.exit_code == 1 and "P077" in again.stderr
    assert run("finetune", config, "--resume").exit_code == 0


def test_docs_of_spacy(run: Callable[..., Result], config: Path, toy_corpus: Path, tmp_path: Path):
    pytest.importorskip("spacy")
    docs = tmp_path / "train.spacy"
    assert run("convert", toy_corpus, docs, "--lang", "en").exit_code == 0
    stated = {**yaml.safe_load(config.read_text()), "train": [str(docs)], "dev": str(docs)}
    config.write_text(yaml.safe_dump(stated))
    result = run("finetune", config)
    assert result.exit_code == 0, result.output
    assert "24 texts in" in result.stdout and "eval_mentions_f: 1.0" in result.stdout
    again = run("finetune", config, "--resume")
    assert again.exit_code == 0 and "Continuing from" in again.stdout


def test_it_is_only_said_what_would_be_done(
    run: Callable[..., Result], config: Path, tmp_path: Path
):
    result = run("finetune", config, "--dry-run")
    assert result.exit_code == 0, result.output
    assert "24 texts in" in result.stdout
    assert not (tmp_path / "out").exists()


def test_separate_sequences(run: Callable[..., Result], config: Path, tmp_path: Path):
    result = run("finetune", config, "--sequences")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / "padellm.json").is_file()


def test_errors_are_shown(run: Callable[..., Result], config: Path, tmp_path: Path):
    config.write_text(config.read_text() + "epochs: 3\n")
    result = run("finetune", config)
    assert result.exit_code == 1
    assert "[P070] The configuration has an unknown entry 'epochs'" in result.stderr
