from __future__ import annotations

from pathlib import Path

import pytest
import torch

from spacy_padellm.checkpoints.loading import load_checkpoint
from spacy_padellm.train.run import prepare
from tests.toy_corpus import parse
from tests.train.toys import DEV, TRAIN, config, toy


def test_it_learns(base: Path, tmp_path: Path):
    training = {"num_train_epochs": 12, "learning_rate": 3e-3, "eval_strategy": "epoch"}
    figures = toy(
        base, tmp_path, training, dev="dev.jsonl", tag_text=0.1, texts=TRAIN + DEV
    ).train()
    assert figures["eval_mentions_f"] > 0.95
    assert load_checkpoint(str(tmp_path / "out"))[1].text_tags


def test_it_goes_on_from_the_last_checkpoint(base: Path, tmp_path: Path):
    whole = toy(base, tmp_path / "whole", {"num_train_epochs": 2})
    whole.train()
    training = {"save_strategy": "epoch", "num_train_epochs": 2}
    parts = toy(base, tmp_path / "parts", training)
    parts.train()
    with pytest.raises(ValueError, match=r"P077.*steps.*--resume"):
        toy(base, tmp_path / "parts", training).train()
    longer = toy(base, tmp_path / "parts", {**training, "num_train_epochs": 3})
    assert longer.train(resume=True)["epoch"] == 3
    weights = [each.lm.model.state_dict() for each in (whole, parts, longer)]
    name = "model.layers.0.mlp.up_proj.weight"
    assert torch.equal(weights[0][name], weights[1][name])
    assert not torch.equal(weights[1][name], weights[2][name])


def test_a_training_goes_on_as_it_was_begun(base: Path, tmp_path: Path):
    pytest.importorskip("peft")
    training = {"save_strategy": "epoch", "num_train_epochs": 1}
    lora = {"r": 4, "target_modules": ["q_proj"]}
    toy(base, tmp_path, training, lora=lora).train()
    longer = {**training, "num_train_epochs": 2}
    for changes, names in [
        ({"lora": {**lora, "r": 8}}, "lora"),
        ({}, "lora"),
        ({"lora": lora, "labels": ["PER"]}, "settings"),
        ({"lora": lora, "row_tokens": 150}, "row_tokens"),
    ]:
        other = toy(base, tmp_path, longer, **changes)
        with pytest.raises(ValueError, match=rf"P084.*another configuration: {names} differ"):
            other.train(resume=True)
    # It may be made longer, and its result saved in another way.
    figures = toy(base, tmp_path, longer, lora=lora, save="adapter").train(resume=True)
    assert figures["epoch"] == 2


def test_resuming_what_has_not_begun_is_beginning(base: Path, tmp_path: Path):
    assert toy(base, tmp_path).train(resume=True)["epoch"] == 2


def test_texts_that_teach_nothing(base: Path, tmp_path: Path):
    with pytest.warns(match="W071"), pytest.raises(ValueError, match=r"P078.*PER"):
        toy(base, tmp_path, texts=[parse("Dan left .", labels=["X"])], labels=["PER"])


def test_nothing_to_train_or_evaluate_on(base: Path, tmp_path: Path):
    with pytest.raises(ValueError, match=r"P085.*train.jsonl.*`train`"):
        toy(base, tmp_path, texts=[])
    stated = config(base, tmp_path, dev="dev.jsonl")
    with pytest.raises(ValueError, match=r"P085.*dev.jsonl.*`dev`"):
        prepare(stated, TRAIN)
    with pytest.warns(match=r"W076\].*\(LOC, ORG, PER\)"):
        prepare(stated, TRAIN, [parse("Nothing happened .")])


def test_large_texts_are_told(base: Path, tmp_path: Path):
    with pytest.warns(match=rf"W074\] {len(TRAIN)} texts .* 10 tokens"):
        prepared = toy(base, tmp_path, row_tokens=10)
    assert [len(row) for row in prepared.rows.rows] == [1] * len(TRAIN)


def test_without_accelerate(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from importlib.util import find_spec

    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "accelerate" else find_spec(name)
    )
    with pytest.raises(ImportError, match=r"P301.*Fine-tuning needs accelerate.*'llm'"):
        toy(base, tmp_path)
