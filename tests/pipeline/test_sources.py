from __future__ import annotations

import shutil
from pathlib import Path

import pytest

pytest.importorskip("spacy")

import torch

from spacy_padellm.checkpoints.options import LoadOptions
from spacy_padellm.checkpoints.small_lm import SmallModelShape
from spacy_padellm.pipeline.sources import FreshSource, PretrainedSource
from spacy_padellm.prompt.template import TEMPLATES, Preset
from spacy_padellm.settings import Overrides, Settings
from spacy_padellm.tree.causal_lm import CausalLM

SHAPE = SmallModelShape(32, 1, 2, 64, vocab_size=300, max_positions=48)
MADE_WITH = Overrides(prefix_attention="bidirectional", softmax="admissible")


def pretrained(folder: Path | str, dtype: str = "float32") -> PretrainedSource:
    return PretrainedSource(str(folder), LoadOptions(dtype=dtype), saves_weights=True)


def settings_of(source: PretrainedSource | FreshSource, stated: Overrides) -> Settings:
    return stated.resolve(source.load_settings(stated.preset))


def test_pretrained_settings_are_the_checkpoints(toy_checkpoint: Path):
    settings = settings_of(pretrained(toy_checkpoint), Overrides())
    assert settings.prefix_attention == "bidirectional" and settings.softmax == "admissible"
    assert list(settings.labels) == ["LOC", "ORG", "PER"]


def test_pretrained_settings_are_overridden(toy_checkpoint: Path):
    stated = Overrides(prefix_attention="causal", softmax="vocabulary")
    settings = settings_of(pretrained(toy_checkpoint), stated)
    assert settings.prefix_attention == "causal" and settings.softmax == "vocabulary"
    assert list(settings.labels) == ["LOC", "ORG", "PER"]


def test_a_plain_checkpoint_has_default_settings(toy_checkpoint: Path, tmp_path: Path):
    folder = shutil.copytree(toy_checkpoint, tmp_path / "plain")
    (folder / "padellm.json").unlink()
    assert pretrained(folder).load_settings(None) is None
    settings = settings_of(pretrained(folder), Overrides())
    assert settings == Settings(TEMPLATES["en"], {}, "causal", "vocabulary")
    # Where a preset is named, it was trained as that says.
    preset = Preset("toy", TEMPLATES["zh"], {"PER": "person"})
    expected = Settings(TEMPLATES["zh"], {"PER": "person"}, trained=("person",))
    assert pretrained(folder).load_settings(preset) == expected


def test_pretrained_model(toy_checkpoint: Path):
    source = pretrained(toy_checkpoint, dtype="bfloat16")
    settings = settings_of(source, Overrides())
    lm = source.load(settings, None)
    assert lm.model.dtype == torch.bfloat16
    assert lm.bidirectional_prefix
    whole = pretrained(toy_checkpoint).load(settings, None)
    assert whole.model.dtype == torch.float32
    weights = lm.model.state_dict()
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(weight.bfloat16(), weights[name])
    # What there is is trained further, also where the folder is gone.
    assert pretrained("/absent/folder").create(settings, iter([])) is None


def test_no_name():
    with pytest.raises(ValueError, match=r"\[P201\].*Set `model\.name`") as caught:
        pretrained("").load_settings(None)
    # The example is to be copied.
    assert 'config={"model": {"@architectures"' in str(caught.value)


@pytest.mark.parametrize("field", ["prefix_attention", "softmax"])
def test_wrong_choices(toy_checkpoint: Path, field: str):
    for source in (pretrained(toy_checkpoint), FreshSource("cpu", shape=SHAPE)):
        with pytest.raises(ValueError, match=rf"\[P031\] {field} is 'both'"):
            settings_of(source, Overrides(**{field: "both"}))


def test_wrong_dtype(toy_checkpoint: Path):
    source = pretrained(toy_checkpoint, dtype="int8")
    with pytest.raises(ValueError, match=r"^\[P043\].*'int8'.*bfloat16"):
        source.load(settings_of(source, Overrides()), None)


def test_small_model():
    settings = Settings(
        TEMPLATES["zh"], {"P": "名称"}, "bidirectional", "admissible", max_mentions=3
    )
    lm = FreshSource("cpu", shape=SHAPE).create(settings, ["Ada left", "Ada met Bob"])
    config = lm.model.config
    assert (config.hidden_size, config.num_hidden_layers) == (32, 1)
    assert (config.num_attention_heads, config.intermediate_size) == (2, 64)
    assert lm.max_depth == 48 and lm.bidirectional_prefix
    vocabulary = lm.tokenizer.get_vocab()
    assert len(vocabulary) <= 300 and config.vocab_size == len(vocabulary)
    wording = ["文本:\n", "\n指定NER标签:\n", "\n\n<数量>", "\n", "名称"]
    openers = ["<第1文段>", "<第2文段>", "<第3文段>"]
    assert all(piece in vocabulary for piece in [*wording, *openers])
    assert "<第4文段>" not in vocabulary


def test_a_small_model_is_made_on_its_device(monkeypatch: pytest.MonkeyPatch):
    moved = []
    monkeypatch.setattr(CausalLM, "to", lambda lm, device: moved.append(device) or lm)
    source = FreshSource("cuda:1", shape=SHAPE)
    source.create(Settings(labels={"PER": "PER"}), ["Ada left"])
    assert moved == ["cuda:1"]


def test_a_small_model_is_made_in_training():
    source = FreshSource("cpu", shape=SHAPE)
    settings = settings_of(source, MADE_WITH)
    assert settings == Settings(TEMPLATES["en"], {}, "bidirectional", "admissible")
    with pytest.raises(ValueError, match=r"\[P202\].*nlp\.initialize\(\)"):
        source.load(settings, None)
