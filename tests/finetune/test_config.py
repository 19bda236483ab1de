from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import pytest

from spacy_padellm.checkpoints.options import LoadOptions
from spacy_padellm.checkpoints.saving import save_settings
from spacy_padellm.finetune.arguments import make_arguments
from spacy_padellm.finetune.config import (
    FinetuneConfig,
    check_fields,
    find_settings,
    read_config,
    validate,
)
from spacy_padellm.prompt.template import PRESETS, TEMPLATES, PromptTemplate
from spacy_padellm.train.augmentation import MentionSwap
from tests.finetune.toys import TRAIN, config
from tests.toy_corpus import LABELS, parse
from tests.trained import LIMITS, trained_lm

ROOT = Path(__file__).parents[2]
NEEDED = {"checkpoint": "model", "output": "out", "train": "train.jsonl"}


def test_what_is_needed_is_enough():
    stated = validate(FinetuneConfig, NEEDED)
    assert stated == FinetuneConfig(checkpoint="model", output="out", train="train.jsonl")
    assert stated.steps == Path("out/steps")
    assert stated.corpora("train") == ["train.jsonl"] and stated.corpora("dev") == []


def test_the_examples_are_some():
    pytest.importorskip("accelerate")
    read_config(ROOT / "configs" / "finetune_gemma.yaml")
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
    assert stated.augment == MentionSwap(rate=0.4, uses=1, join=2, capitals=0.0)
    # As it is noted beside the steps of a training.
    entries = {"rate": 0.4, "uses": 1, "join": 2, "capitals": 0.0}
    assert stated.model_dump(mode="json")["augment"] == entries
    assert stated.load == LoadOptions(dtype="bfloat16", quantization="4bit")
    # A number without a point is one.
    assert stated.training["learning_rate"] == 2e-5
    assert stated.lora == {"r": 16, "target_modules": "all-linear"}
    assert stated.labels == {"PER": "person"} and stated.save == "adapter"


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"epochs": 3}, r"P070.*'epochs'.*augment, checkpoint, dev"),
        ({"load": {"dtyp": "float32"}}, r"P070.*'load.dtyp'.*dtype\."),
        ({"augment": {"rate": 0.1, "speed": 1}}, r"P070.*'augment.speed'.*capitals, join"),
        ({"augment": {"join": 2}}, r"P075.*'augment.rate'"),
        ({"augment": {"rate": 4}}, r"P030.*rate is 4"),
        ({"augment": 0.4}, r"P071.*augment is 0.4.*an object"),
        ({"row_tokens": "many"}, r"P071.*row_tokens is 'many'.*a valid integer"),
        ({"row_tokens": 0}, r"P032.*row_tokens"),
        ({"tag_text": True}, r"P071.*tag_text is True.*a valid number"),
        ({"train": 3}, r"P071.*train is 3.*a valid string or a valid array"),
        ({"labels": "PER"}, r"P071.*labels is 'PER'.*a valid array or an object"),
        ({"labels": [1]}, r"P071.*labels.0 is 1.*a valid string\."),
        ({"labels": {"PER": 1}}, r"P071.*labels.PER is 1.*a valid string\."),
        ({"save": "both"}, r"P071.*save is 'both'.*adapter"),
        ({"save": "adapter"}, r"P082.*`lora`"),
        ({"output": __file__}, r"P071.*output is.*a folder"),
        ({"load": 3}, r"P071.*load is 3.*an object"),
        ({"load": {"trust_remote_code": 1}}, r"P071.*load.trust_remote_code is 1.*boolean"),
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
        validate(FinetuneConfig, {**NEEDED, **changes})


@pytest.mark.parametrize("missing", sorted(NEEDED))
def test_what_is_missing_is_named(missing: str):
    stated = {name: value for name, value in NEEDED.items() if name != missing}
    with pytest.raises(ValueError, match=f"P075.*'{missing}'"):
        validate(FinetuneConfig, stated)


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


def test_entries_are_changed(tmp_path: Path):
    path = tmp_path / "config.yaml"
    path.write_text("checkpoint: a\noutput: b\ntrain: c\ntraining: {seed: 3}\nlora:\n")
    changes = ["output=there=here", "training.learning_rate=2e-5", "lora.r=8", "labels=[PER, ORG]"]
    found = read_config(path, changes)
    assert found.output == "there=here"
    assert found.training == {"seed": 3, "learning_rate": 2e-5}
    assert found.lora == {"r": 8}
    assert found.labels == ["PER", "ORG"]
    assert read_config(path, ["training.seed=4"]).training == {"seed": 4}


@pytest.mark.parametrize("change", ["output.folder=x", "labels=[", "checkpoint.a.b=1"])
def test_changes_that_are_not_possible(change: str, tmp_path: Path):
    path = tmp_path / "config.yaml"
    path.write_text("checkpoint: a\noutput: b\ntrain: c\n")
    with pytest.raises(ValueError, match=r"P088.*" + re.escape(repr(change))):
        read_config(path, [change])


def test_a_changed_entry_is_checked_as_any_other(tmp_path: Path):
    path = tmp_path / "config.yaml"
    path.write_text("checkpoint: a\noutput: b\ntrain: c\n")
    with pytest.raises(ValueError, match=r"P070.*'row_token'.*row_tokens"):
        read_config(path, ["row_token=5"])
    with pytest.raises(ValueError, match=r"P071.*output"):
        read_config(path, ["output"])


def test_no_loading_options_are_the_defaults():
    assert validate(FinetuneConfig, {**NEEDED, "load": None}).load == LoadOptions()


def test_the_users_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("HOME", str(tmp_path))
    stated = {**NEEDED, "output": "~/out", "train": ["~/a.jsonl", "b.jsonl"]}
    made = validate(FinetuneConfig, stated)
    assert made.steps == tmp_path / "out" / "steps"
    assert made.corpora("train") == [str(tmp_path / "a.jsonl"), "b.jsonl"]


def test_an_entry_that_is_there_twice(tmp_path: Path):
    path = tmp_path / "config.yaml"
    path.write_text("checkpoint: a\ntraining: {seed: 1, seed: 2}\n")
    with pytest.raises(ValueError, match=r"P076.*'seed' is there twice"):
        read_config(path)


def test_a_name_that_is_no_string(tmp_path: Path):
    """YAML takes the label `NO` for false."""
    path = tmp_path / "config.yaml"
    path.write_text("checkpoint: a\nlabels: {NO: norwegian}\n")
    with pytest.raises(ValueError, match=r"P076.*False is no name.*in quotes"):
        read_config(path)


def test_files_that_cannot_be_read(tmp_path: Path):
    path = tmp_path / "config.yaml"
    path.write_text("a: [1")
    for each in (path, tmp_path / "missing.yaml"):
        with pytest.raises(ValueError, match=rf"P076.*{each.name}"):
            read_config(each)


class Kind(Enum):
    ONE = "one"


@dataclass
class Entries:
    number: float = 0.0
    whole: int | None = None
    kind: Kind = Kind.ONE
    word: Literal["a", "b"] = "a"
    words: list[str] | str = "x"
    parts: Mapping[str, int] = field(default_factory=dict)
    pairs: list[tuple[int, int]] | None = None
    anything: Any = None
    unstated: int = field(init=False, default=0)


def test_entries_of_the_right_types():
    stated = {
        "number": 1,
        "whole": None,
        "kind": "one",
        "word": "b",
        "words": ["a"],
        "parts": {"a": 1},
        "pairs": [[1, 2]],
        "anything": [1],
    }
    found = check_fields(Entries, stated, "here", {})
    assert found == {**stated, "kind": Kind.ONE, "pairs": [(1, 2)]}


@pytest.mark.parametrize(
    "key, value",
    [
        ("number", "1"),
        ("number", True),
        ("whole", 1.5),
        ("kind", 1),
        ("word", "c"),
        ("words", [1]),
        ("parts", {"a": "b"}),
        ("parts", ["a"]),
        ("pairs", [1]),
    ],
)
def test_entries_of_other_types(key: str, value: Any):
    with pytest.raises(ValueError, match=rf"P071.*here\.{key}"):
        check_fields(Entries, {key: value}, "here", {})


def test_entries_that_there_are_not():
    for key in ("numbr", "unstated"):
        with pytest.raises(ValueError, match=rf"P070.*'here\.{key}'.*number"):
            check_fields(Entries, {key: 1}, "here", {})
    with pytest.raises(ValueError, match=r"P072.*here\.whole.*do it otherwise"):
        check_fields(Entries, {"whole": 1}, "here", {"whole": "do it otherwise"})


@pytest.fixture
def own(base: Path, tmp_path: Path) -> Path:
    """The checkpoint with wordings of its own, some of them untrained."""
    for path in base.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "padellm.json").unlink()
    settings = replace(
        trained_lm()[1], labels={"PER": "person", "DATE": "date"}, trained=("person",)
    )
    save_settings(tmp_path, settings)
    return tmp_path


def settings(folder: Path, **changes):
    return find_settings(config(folder, folder, **changes), TRAIN)


def test_a_checkpoints_settings_are_the_defaults(own: Path):
    found = settings(own)
    assert found.labels == {"PER": "person", "DATE": "date", "LOC": "LOC", "ORG": "ORG"}
    assert (found.max_mentions, found.max_mention_tokens) == tuple(LIMITS.values())
    # Only training adds what it is trained on.
    assert found.trained == ("person",)
    assert found.as_trained(text_tags=True).trained == ("person", "date", "LOC", "ORG")


def test_stated_labels_are_all(own: Path):
    assert settings(own, labels=["PER", "ORG"]).labels == {"PER": "person", "ORG": "ORG"}
    assert settings(own, labels={"ORG": "firm"}).labels == {"ORG": "firm"}


def test_without_a_padellm_json(own: Path):
    (own / "padellm.json").unlink()
    found = settings(own)
    assert found.template == TEMPLATES["en"] and list(found.labels) == LABELS


def test_a_preset_gives_template_and_labels(own: Path):
    found = settings(own, preset="youku")
    assert found.template == TEMPLATES["zh"]
    assert found.labels == {**PRESETS["youku"].labels, "LOC": "LOC", "ORG": "ORG"}
    assert settings(own, preset="msra", labels=["LOC"]).labels == {"LOC": "地点"}
    with pytest.raises(ValueError, match=r"P031.*preset is 'conll'.*conll03"):
        settings(own, preset="conll")


def test_what_is_stated_overrides_the_rest(own: Path):
    template = {"prompt": "{text}\n{label}: ", "mention": "({n})"}
    found = settings(
        own,
        preset="msra",
        template=template,
        prefix_attention="bidirectional",
        softmax="admissible",
        label_vectors=True,
        max_mentions=7,
        max_mention_tokens=9,
    )
    assert found.template == PromptTemplate(**template)
    assert (found.prefix_attention, found.softmax) == ("bidirectional", "admissible")
    assert found.label_vectors
    assert (found.max_mentions, found.max_mention_tokens) == (7, 9)
    assert settings(own, output_format="augmented").output_format == "augmented"


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"template": "de"}, "P005.*'de'"),
        ({"softmax": "hard"}, "P031.*softmax"),
        ({"max_mentions": 0}, "P032.*max_mentions"),
        ({"labels": []}, "P078.*labels"),
    ],
)
def test_settings_that_are_not_possible(own: Path, changes: dict, message: str):
    with pytest.raises(ValueError, match=message):
        settings(own, **changes)


def test_no_label_at_all(own: Path):
    (own / "padellm.json").unlink()
    with pytest.raises(ValueError, match="P078"):
        find_settings(config(own, own), [parse("Nothing .")])
