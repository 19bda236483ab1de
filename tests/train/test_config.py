from __future__ import annotations

from pathlib import Path

import pytest

from spacy_padellm.checkpoints.options import LoadOptions
from spacy_padellm.train.arguments import make_arguments
from spacy_padellm.train.config import (
    Augment,
    FinetuneConfig,
    make_config,
    on_device,
    read_config,
)

ROOT = Path(__file__).parents[2]
NEEDED = {"checkpoint": "model", "output": "out", "train": "train.jsonl"}


def test_what_is_needed_is_enough():
    stated = make_config(NEEDED)
    assert stated == FinetuneConfig("model", "out", "train.jsonl")
    assert stated.steps == Path("out/steps")
    assert stated.corpora("train") == ["train.jsonl"] and stated.corpora("dev") == []


def test_the_example_is_one():
    pytest.importorskip("accelerate")
    stated = read_config(ROOT / "configs" / "finetune_llm.yaml")
    assert stated.preset == "conll03" and stated.lora is not None
    # Bfloat16 and the like are for a GPU.
    stated.training.update(use_cpu=True, bf16=False)
    assert make_arguments(stated).learning_rate == 1e-4


def test_everything_is_read(tmp_path: Path):
    path = tmp_path / "config.yaml"
    path.write_text(
        """
checkpoint: model
output: out
train: [a.jsonl, b.conll]
dev: dev.spacy
preset: conll03
template: {prompt: "{text} {label}", mention: "<{n}>"}
labels: {PER: person}
max_mentions: 5
tag_text: 1
augment: {rate: 0.4, join: 2}
load: {dtype: bfloat16, quantization: 4bit}
lora: {r: 16, target_modules: all-linear}
save: adapter
patience: 3
training: {learning_rate: 2e-5, eval_strategy: no, max_steps: 10}
"""
    )
    stated = read_config(path)
    assert stated.corpora("train") == ["a.jsonl", "b.conll"]
    assert stated.augment == Augment(0.4, join=2)
    swap = stated.augment.make_swap()
    assert (swap.rate, swap.uses, swap.join, swap.capitals) == (0.4, 1, 2, 0.0)
    assert stated.load == LoadOptions(dtype="bfloat16", quantization="4bit")
    # A number without a point is one.
    assert stated.training["learning_rate"] == 2e-5
    assert stated.lora == {"r": 16, "target_modules": "all-linear"}
    assert stated.labels == {"PER": "person"} and stated.save == "adapter"


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"epochs": 3}, r"P070.*'epochs'.*augment, checkpoint, dev"),
        ({"load": {"dtyp": "float32"}}, r"P070.*'load.dtyp'.*dtype"),
        ({"augment": {"rate": 0.1, "speed": 1}}, r"P070.*'augment.speed'.*capitals, join"),
        ({"augment": {"join": 2}}, r"P075.*'augment.rate'"),
        ({"augment": 0.4}, r"P071.*augment is 0.4.*entries"),
        ({"row_tokens": "many"}, r"P071.*row_tokens is 'many'.*int"),
        ({"row_tokens": 0}, r"P032.*row_tokens"),
        ({"tag_text": True}, r"P071.*tag_text is True.*float"),
        ({"train": 3}, r"P071.*train is 3.*str"),
        ({"labels": "PER"}, r"P071.*labels is 'PER'.*list"),
        ({"labels": [1]}, r"P071.*labels is \[1\]"),
        ({"labels": {"PER": 1}}, r"P071.*labels"),
        ({"save": "both"}, r"P071.*save is 'both'.*adapter"),
        ({"save": "adapter"}, r"P082.*`lora`"),
        ({"output": __file__}, r"P071.*output is.*a folder"),
        ({"load": {"device": "cuda"}}, r"P072.*load.device.*use_cpu"),
        ({"load": {"quantization": "2bit"}}, r"P071.*load.quantization.*4bit"),
        ({"load": {"quantization": "4bit"}}, r"P074.*lora"),
        ({"patience": 2}, r"P073.*patience.*dev"),
        ({"patience": 0, "dev": "d"}, r"P032.*patience"),
        ({"output": "./model"}, r"P071.*output is './model'.*another folder"),
        ({"training": []}, r"P071.*training is \[\]"),
    ],
)
def test_what_is_not_possible_is_named(changes: dict, message: str):
    with pytest.raises(ValueError, match=message):
        make_config({**NEEDED, **changes})


@pytest.mark.parametrize("missing", sorted(NEEDED))
def test_what_is_missing_is_named(missing: str):
    stated = {name: value for name, value in NEEDED.items() if name != missing}
    with pytest.raises(ValueError, match=f"P075.*'{missing}'"):
        make_config(stated)


@pytest.mark.parametrize("content", ["[1, 2]", "", "text"])
def test_a_file_without_entries(tmp_path: Path, content: str):
    path = tmp_path / "config.yaml"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"P071.*the file"):
        read_config(path)


def test_what_yaml_merges(tmp_path: Path):
    path = tmp_path / "config.yaml"
    path.write_text(
        "checkpoint: a\noutput: b\ntrain: c\ntraining: {<<: {seed: 1, logging_steps: 2}, seed: 3}\n"
    )
    assert read_config(path).training == {"seed": 3, "logging_steps": 2}


def test_the_users_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("HOME", str(tmp_path))
    stated = {**NEEDED, "output": "~/out", "train": ["~/a.jsonl", "b.jsonl"]}
    made = make_config(stated)
    assert made.steps == tmp_path / "out" / "steps"
    assert made.corpora("train") == [str(tmp_path / "a.jsonl"), "b.jsonl"]


def test_an_entry_that_is_there_twice(tmp_path: Path):
    path = tmp_path / "config.yaml"
    path.write_text("checkpoint: a\ntraining: {seed: 1, seed: 2}\n")
    with pytest.raises(ValueError, match=r"P076.*'seed' is there twice"):
        read_config(path)


def test_files_that_cannot_be_read(tmp_path: Path):
    path = tmp_path / "config.yaml"
    path.write_text("a: [1")
    for each in (path, tmp_path / "missing.yaml"):
        with pytest.raises(ValueError, match=rf"P076.*{each.name}"):
            read_config(each)


def test_only_quantized_weights_are_loaded_where_they_are_trained():
    assert on_device(LoadOptions(), "cuda:1").device == "cpu"
    assert on_device(LoadOptions(quantization="4bit"), "cuda:1").device == "cuda:1"
