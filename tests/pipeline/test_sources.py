from __future__ import annotations

import shutil
from pathlib import Path

import pytest

pytest.importorskip("spacy")

import torch

from spacy_padellm.checkpoints.options import LoadOptions
from spacy_padellm.checkpoints.settings import CheckpointSettings
from spacy_padellm.checkpoints.small_lm import SmallModelShape
from spacy_padellm.limits import MentionLimits
from spacy_padellm.pipeline.sources import PretrainedSource, SmallSource
from spacy_padellm.prompt.template import TEMPLATES
from spacy_padellm.tree.causal_lm import CausalLM

SHAPE = SmallModelShape(32, 1, 2, 64, vocab_size=300, max_positions=48)


def pretrained(folder: Path | str, **changes: str) -> PretrainedSource:
    options = LoadOptions(dtype=changes.pop("dtype", "float32"))
    fields = {"prefix_attention": None, "softmax": None, "saves_weights": True}
    return PretrainedSource(str(folder), options, **{**fields, **changes})


def small(**changes: str) -> SmallSource:
    fields = {"device": "cpu", "prefix_attention": "bidirectional", "softmax": "admissible"}
    return SmallSource(shape=SHAPE, **{**fields, **changes})


def test_pretrained_settings_are_the_checkpoints(toy_checkpoint: Path):
    settings = pretrained(toy_checkpoint).settings()
    assert settings.prefix_attention == "bidirectional" and settings.softmax == "admissible"
    assert list(settings.labels) == ["LOC", "ORG", "PER"]


def test_pretrained_settings_are_overridden(toy_checkpoint: Path):
    source = pretrained(toy_checkpoint, prefix_attention="causal", softmax="vocabulary")
    settings = source.settings()
    assert settings.prefix_attention == "causal" and settings.softmax == "vocabulary"
    assert list(settings.labels) == ["LOC", "ORG", "PER"]


def test_a_plain_checkpoint_has_default_settings(toy_checkpoint: Path, tmp_path: Path):
    folder = shutil.copytree(toy_checkpoint, tmp_path / "plain")
    (folder / "padellm.json").unlink()
    assert pretrained(folder).settings() == CheckpointSettings(
        TEMPLATES["en"], {}, "causal", "vocabulary"
    )


def test_pretrained_model(toy_checkpoint: Path):
    source = pretrained(toy_checkpoint, dtype="bfloat16")
    lm = source.load(source.settings())
    assert lm.model.dtype == torch.bfloat16
    assert lm.prefix_attention == "bidirectional"
    created = pretrained(toy_checkpoint).create(source.settings(), iter([]), None)
    assert created.model.dtype == torch.float32
    weights = lm.model.state_dict()
    for name, weight in created.model.state_dict().items():
        assert torch.equal(weight.bfloat16(), weights[name])
    # A saved pipeline's own model goes before it.
    assert pretrained("/absent/folder").create(source.settings(), iter([]), lm) is lm


def test_no_name():
    with pytest.raises(ValueError, match=r"\[P201\].*Set `model\.name`") as caught:
        pretrained("").settings()
    # The example is to be copied.
    assert 'config={"model": {"@architectures"' in str(caught.value)


@pytest.mark.parametrize("field", ["prefix_attention", "softmax"])
def test_wrong_choices(toy_checkpoint: Path, field: str):
    for source in (pretrained(toy_checkpoint, **{field: "both"}), small(**{field: "both"})):
        with pytest.raises(ValueError, match=rf"\[P031\] {field} is 'both'"):
            source.settings()


def test_wrong_dtype(toy_checkpoint: Path):
    source = pretrained(toy_checkpoint, dtype="int8")
    with pytest.raises(ValueError, match=r"^\[P043\].*'int8'.*bfloat16"):
        source.load(source.settings())


def test_small_model():
    source = small()
    settings = CheckpointSettings(
        TEMPLATES["zh"], {"P": "名称"}, "bidirectional", "admissible", MentionLimits(max_mentions=3)
    )
    lm = source.create(settings, ["Ada left", "Ada met Bob"], None)
    config = lm.model.config
    assert (config.hidden_size, config.num_hidden_layers) == (32, 1)
    assert (config.num_attention_heads, config.intermediate_size) == (2, 64)
    assert lm.max_positions == 48 and lm.bidirectional
    vocabulary = lm.tokenizer.get_vocab()
    assert len(vocabulary) <= 300 and config.vocab_size == len(vocabulary)
    wording = ["文本:\n", "\n指定NER标签:\n", "\n\n<数量>", "\n", "名称"]
    openers = ["<第1文段>", "<第2文段>", "<第3文段>"]
    assert all(piece in vocabulary for piece in [*wording, *openers])
    assert "<第4文段>" not in vocabulary


def test_a_small_model_is_made_on_its_device(monkeypatch: pytest.MonkeyPatch):
    moved = []
    monkeypatch.setattr(CausalLM, "to", lambda lm, device: moved.append(device) or lm)
    source = small(device="cuda:1")
    source.create(CheckpointSettings(labels={"PER": "PER"}), ["Ada left"], None)
    assert moved == ["cuda:1"]


def test_a_small_model_is_made_in_training():
    source = small()
    assert source.settings() == CheckpointSettings(
        TEMPLATES["en"], {}, "bidirectional", "admissible"
    )
    with pytest.raises(ValueError, match=r"\[P202\].*nlp\.initialize\(\)"):
        source.load(source.settings())


def test_what_a_config_states():
    assert pretrained("x").stated() == {}
    assert pretrained("x", softmax="admissible").stated() == {"softmax": "admissible"}
    both = {"prefix_attention": "causal", "softmax": "vocabulary"}
    assert pretrained("x", **both).stated() == both == small(**both).stated()
