from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

pytest.importorskip("accelerate")

from spacy_padellm.finetune.arguments import make_arguments
from tests.finetune.toys import config


def arguments(tmp_path: Path, dev: bool = False, patience: int | None = None, **training):
    changes = {"dev": "dev.jsonl", "patience": patience} if dev else {}
    stated = config(tmp_path, tmp_path, training, **changes)
    for name in ("save_strategy", "eval_strategy"):
        if name not in training:
            # Those of the tests' own.
            del stated.training[name]
    return make_arguments(stated)


def test_what_is_stated_is_passed_on(tmp_path: Path):
    made = arguments(tmp_path, learning_rate=5e-4, warmup_steps=3)
    assert (made.learning_rate, made.warmup_steps) == (5e-4, 3)
    assert Path(str(made.output_dir)) == tmp_path / "out" / "steps"
    assert made.eval_strategy == "no" and not made.load_best_model_at_end
    assert made.n_gpu <= 1


def test_with_texts_to_evaluate_on_that_is_done_once_an_epoch(tmp_path: Path):
    made = arguments(tmp_path, dev=True)
    assert (made.eval_strategy, made.save_strategy) == ("epoch", "epoch")
    made = arguments(tmp_path, dev=True, eval_steps=5, save_steps=10)
    assert (made.eval_strategy, made.save_strategy) == ("steps", "steps")
    made = arguments(tmp_path, dev=True, eval_strategy="steps", eval_steps=5)
    assert (made.eval_strategy, made.save_strategy) == ("steps", "steps")


def test_the_best_is_that_with_the_best_mentions(tmp_path: Path):
    made = arguments(tmp_path, dev=True, patience=2)
    assert made.load_best_model_at_end and made.greater_is_better
    assert made.metric_for_best_model == "mentions_f"
    made = arguments(tmp_path, dev=True, patience=2, metric_for_best_model="loss")
    assert not made.greater_is_better


def test_evaluations_have_to_be_made_to_be_counted(tmp_path: Path):
    with pytest.raises(ValueError, match=r"P072.*eval_strategy.*`patience`"):
        arguments(tmp_path, dev=True, patience=2, eval_strategy="no")


@pytest.mark.parametrize(
    "stated, version",
    [(None, "2"), ({"version": 1}, "1"), ({"fsdp_version": 1}, "1"), ("fsdp.json", "1")],
)
def test_the_version_of_fsdp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stated: Any, version: str
):
    (tmp_path / "fsdp.json").write_text('{"version": 1}')
    monkeypatch.chdir(tmp_path)
    # Put back afterwards, with all that transformers set there.
    with mock.patch.dict(os.environ):
        os.environ.pop("FSDP_VERSION", None)
        arguments(tmp_path, fsdp="full_shard", fsdp_config=stated)
        assert os.environ["FSDP_VERSION"] == version


def test_yaml_takes_no_for_false(tmp_path: Path):
    made = arguments(tmp_path, dev=True, save_strategy=False, eval_strategy=False)
    assert (made.eval_strategy, made.save_strategy) == ("no", "no")


def test_a_backend_for_several_processes_is_left_out_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert arguments(tmp_path, ddp_backend="gloo").ddp_backend is None


@pytest.mark.parametrize(
    "training, message",
    [
        ({"learning_rat": 1e-5}, r"P070.*'training.learning_rat'.*learning_rate"),
        ({"learning_rate": "fast"}, r"P071.*training.learning_rate is 'fast'.*a valid number"),
        ({"output_dir": "x"}, r"P072.*training.output_dir.*`output`"),
        ({"remove_unused_columns": True}, r"P072.*training.remove_unused_columns"),
        ({"lr_scheduler_type": "zigzag"}, r"P083.*training.*zigzag"),
        ({"per_device_train_batch_size": 0}, r"P032.*per_device_train_batch_size is 0"),
        ({"metric_for_best_model": "f1"}, r"P086.*'f1'.*mentions_f"),
        ({"label_smoothing_factor": 0.1}, r"P072.*label_smoothing_factor"),
        ({"eval_steps": 5}, r"P073.*training.eval_steps.*dev"),
        ({"eval_strategy": "epoch"}, r"P073.*training.eval_strategy.*dev"),
    ],
)
def test_what_is_not_possible_is_named(tmp_path: Path, training: dict, message: str):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        arguments(tmp_path, **training)
