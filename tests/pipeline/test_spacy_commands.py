"""spaCy's own commands on the configs: labels written out, and training on real text that has to
have been learned.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("spacy")

import spacy
from spacy.cli import app
from spacy.cli.evaluate import evaluate
from spacy.cli.train import train
from typer.testing import CliRunner

from spacy_padellm.cli.app import create_app
from spacy_padellm.corpus.formats import read_annotated_texts
from spacy_padellm.corpus.jsonl import write_jsonl

ROOT = Path(__file__).parents[2]
# Sentences of English novels of the 19th century, in the public domain.
NOVELS = ROOT / "tests" / "data" / "novels.jsonl"
CONFIG = ROOT / "configs" / "wnut17.cfg"
MODEL = "components.padellm_ner.model"
# Small enough to be trained in seconds.
SMALL: dict[str, Any] = {
    f"{MODEL}.width": 96,
    f"{MODEL}.depth": 2,
    f"{MODEL}.heads": 4,
    f"{MODEL}.feed_forward": 256,
    f"{MODEL}.mixed_precision": False,
    # Here it is to learn the very texts.
    "components.padellm_ner.augment": None,
    "training.batcher.size": 300,
    "training.optimizer.learn_rate.initial_rate": 0.003,
    "training.optimizer.learn_rate.warmup_steps": 20,
    "training.optimizer.learn_rate.total_steps": 180,
    "training.max_steps": 180,
    "training.eval_frequency": 60,
}


def padellm(*arguments: str | Path) -> str:
    result = CliRunner().invoke(create_app(), [str(each) for each in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(params=["novels", "wnut17"])
def corpus(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Short texts with names, converted as a user would convert them."""
    lines = NOVELS
    if request.param == "wnut17":
        folder = request.getfixturevalue("shared_data")
        texts = read_annotated_texts(folder / "open" / "wnut17" / "train.conll")
        short = [text for text in texts if text.mentions and len(text.source.tokens) <= 16]
        lines = tmp_path / "short.jsonl"
        write_jsonl(lines, short[:60])
    padellm("convert", lines, tmp_path / "corpus.spacy")
    return tmp_path / "corpus.spacy"


def test_training_on_real_texts_learns_them(corpus: Path, tmp_path: Path):
    overrides = {**SMALL, "paths.train": str(corpus), "paths.dev": str(corpus)}
    train(CONFIG, tmp_path / "trained", overrides=overrides)
    folder = tmp_path / "trained" / "model-best"
    evaluate(str(folder), corpus, output=tmp_path / "metrics.json", silent=True)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["mentions_f"] >= 0.9
    assert metrics["ents_f"] >= 0.9
    assert f"mentions_f  {metrics['mentions_f']:.4f}\n" in padellm(
        "scores", tmp_path / "metrics.json"
    )
    # What training wrote is whole.
    nlp = spacy.load(folder)
    assert nlp.meta["labels"]["padellm_ner"] == sorted(metrics["ents_per_type"])
    assert nlp.meta["performance"]["mentions_f"] >= 0.9


@pytest.mark.parametrize("output_format", ["augmented", "structured"])
def test_so_does_training_in_an_output_format(output_format: str, tmp_path: Path):
    """The same corpus and model."""
    padellm("convert", NOVELS, tmp_path / "corpus.spacy")
    overrides = {
        **SMALL,
        f"{MODEL}.softmax": "vocabulary",
        "components.padellm_ner.output_format": output_format,
        "training.max_steps": 240,
        "training.optimizer.learn_rate.total_steps": 240,
        "paths.train": str(tmp_path / "corpus.spacy"),
        "paths.dev": str(tmp_path / "corpus.spacy"),
    }
    train(CONFIG, tmp_path / "trained", overrides=overrides)
    nlp = spacy.load(tmp_path / "trained" / "model-best")
    assert nlp.meta["performance"]["mentions_f"] >= 0.9
    assert nlp.meta["performance"]["ents_f"] >= 0.9


def test_init_labels(tmp_path: Path):
    padellm("convert", NOVELS, tmp_path / "corpus.spacy")
    options = [word for name, value in SMALL.items() for word in (f"--{name}", json.dumps(value))]
    options += ["--paths.train", str(tmp_path / "corpus.spacy"), "--paths.dev", "dev.spacy"]
    arguments = ["init", "labels", str(CONFIG), str(tmp_path / "labels")]
    result = CliRunner().invoke(app, [*arguments, *options])
    assert result.exit_code == 0, result.output
    path = tmp_path / "labels" / "padellm_ner.json"
    assert json.loads(path.read_text()) == {"LOC": "LOC", "ORG": "ORG", "PER": "PER"}
