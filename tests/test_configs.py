"""The configs: complete, valid, and each says what it is for."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("spacy")

from spacy.cli.debug_config import debug_config
from spacy.util import dot_to_object, load_config, load_model_from_config

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.cfg"))
OVERRIDES = {"paths.train": "train.spacy", "paths.dev": "dev.spacy"}


@pytest.fixture(params=CONFIGS, ids=lambda path: path.name)
def config(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_there_is_one_per_use():
    assert [path.name for path in CONFIGS] == [
        "bundled.cfg",
        "finetune.cfg",
        "resume.cfg",
        "wnut17.cfg",
    ]


def test_the_first_line_says_what_for(config: Path):
    first = config.read_text(encoding="utf8").splitlines()[0]
    assert first.startswith("# ") and first.endswith(".") and len(first) > 40


def test_spacy_finds_no_fault(config: Path, capsys: pytest.CaptureFixture[str]):
    debug_config(config, overrides=OVERRIDES)
    assert "Config is valid" in capsys.readouterr().out


def test_nothing_is_left_to_defaults(config: Path):
    """Filling it in adds nothing, so that a later spaCy's defaults do not change the training."""
    stated = load_config(config, interpolate=False)
    nlp = load_model_from_config(load_config(config), auto_fill=True)
    for section in ("nlp", "training", "components.padellm_ner", "components.padellm_ner.model"):
        filled, given = (dot_to_object(each, section) for each in (nlp.config, stated))
        assert set(filled) == set(given), section


def test_scores_and_corpora_fit_the_component(config: Path):
    stated = load_config(config, interpolate=True)
    assert stated["nlp"]["pipeline"] == ["padellm_ner"]
    assert stated["training"]["score_weights"]["mentions_f"] == 1.0
    assert stated["training"]["optimizer"]["use_averages"] is False
    rate = stated["training"]["optimizer"]["learn_rate"]
    # This phase of the bundled model ends before.
    steps = 9000 if config.name == "bundled.cfg" else stated["training"]["max_steps"]
    assert rate["total_steps"] == steps
