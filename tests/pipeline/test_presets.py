from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("spacy")

import spacy

from spacy_padellm.checkpoints import files
from spacy_padellm.prompt.template import PRESETS, TEMPLATES, Preset, PromptTemplate
from tests.pipeline.toy_pipeline import component, fresh_nlp, mentions
from tests.toy_corpus import LABELS

TEXT = "The University of Oslo hired Dan ."
WORDINGS = {label: label for label in LABELS}


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError(f"asked the hub for {args}")

    monkeypatch.setattr(files, "cached_file", refuse)


@pytest.mark.parametrize("name", PRESETS)
def test_building_a_pipe_and_reading_its_labels_downloads_nothing(name: str, no_hub: None):
    nlp = spacy.blank("zh" if PRESETS[name].template is TEMPLATES["zh"] else "en")
    pipe = nlp.add_pipe("padellm_ner", config={"preset": name})
    assert pipe.labels == tuple(PRESETS[name].labels)
    settings = component(nlp).shim.settings
    assert (settings.template, settings.labels) == (PRESETS[name].template, PRESETS[name].labels)
    assert nlp.config["components"]["padellm_ner"]["preset"] == name


def test_weights_come_from_the_presets_checkpoint(monkeypatch: pytest.MonkeyPatch):
    asked = []

    def cached_file(name: str, *args: Any, **kwargs: Any) -> None:
        asked.append(name)
        raise OSError("no network")

    monkeypatch.setattr(files, "cached_file", cached_file)
    nlp = spacy.blank("en")
    nlp.add_pipe("padellm_ner", config={"preset": "genia"})
    with pytest.raises(ValueError, match=r"P042.*PaDeLLM_llama2_7b_genia"):
        nlp(TEXT)
    assert set(asked) == {"JinghuiLuAstronaut/PaDeLLM_llama2_7b_genia"}


def test_what_the_config_states_goes_before_the_preset(no_hub: None):
    nlp = spacy.blank("zh")
    config = {"preset": "weibo", "labels": ["PER.NAM", "NEW"], "template": "en"}
    assert nlp.add_pipe("padellm_ner", config=config).labels == ("PER.NAM", "NEW")
    settings = component(nlp).shim.settings
    assert settings.template == TEMPLATES["en"]
    # The preset still knows how to ask for a label.
    assert settings.labels == {"PER.NAM": "名称特指", "NEW": "NEW"}


def test_a_copy_of_its_checkpoint_on_disk(toy_checkpoint: Path, tmp_path: Path):
    """As the authors' folders are: no padellm.json in it."""
    folder = Path(shutil.copytree(toy_checkpoint, tmp_path / "copy"))
    (folder / "padellm.json").unlink()
    model = {"name": str(folder), "prefix_attention": "bidirectional", "softmax": "admissible"}

    @spacy.registry.misc("toy_preset_without_checkpoint.v1")
    def make_toy_preset() -> Preset:
        return Preset("toy", TEMPLATES["en"], WORDINGS)

    nlp = spacy.blank("en")
    config = {"preset": "toy_preset_without_checkpoint.v1", "model": model, "max_mentions": 5}
    nlp.add_pipe("padellm_ner", config=config)
    with warnings.catch_warnings():
        # It says what the checkpoint was trained with.
        warnings.simplefilter("error")
        assert mentions(nlp(TEXT)) == mentions(spacy.load(toy_checkpoint.parents[1])(TEXT))


def test_users_register_their_own(toy_checkpoint: Path):
    template = PromptTemplate("text:\n{text}\nentity type:\n{label}\n\n<num>")
    registered = Preset("toy.v1", template, WORDINGS, str(toy_checkpoint))

    @spacy.registry.misc("toy_preset.v1")
    def make_toy_preset() -> Preset:
        return registered

    for preset in ("toy_preset.v1", {"@misc": "toy_preset.v1"}):
        nlp = spacy.blank("en")
        nlp.add_pipe("padellm_ner", config={"preset": preset})
        assert component(nlp).labels == tuple(WORDINGS)
        assert component(nlp).shim.lm.model.config.hidden_size == 64


@pytest.mark.parametrize("name", ["conl03", "spacy_padellm.swap_mentions.v2"])
def test_a_preset_that_is_not_there(name: str):
    with pytest.raises(ValueError, match=rf"P210.*{name}.*conll03, genia.*registry.misc"):
        fresh_nlp(preset=name)


def test_a_small_model_may_have_a_preset_as_well():
    nlp = fresh_nlp(preset="resume")
    assert component(nlp).labels == tuple(PRESETS["resume"].labels)
    assert component(nlp).shim.settings.template == TEMPLATES["zh"]


def test_a_saved_pipeline_has_it_all(toy_checkpoint: Path, tmp_path: Path, no_hub: None):
    nlp = spacy.blank("en")
    nlp.add_pipe("padellm_ner", config={"model": {"name": str(toy_checkpoint)}})
    expected = mentions(nlp(TEXT))
    nlp.to_disk(tmp_path / "pipeline")
    # What was saved says how it is to be run, and a config that says otherwise is told so.
    with pytest.warns(UserWarning, match="W202.*labels"):
        again = spacy.load(
            tmp_path / "pipeline", config={"components.padellm_ner.preset": "conll03"}
        )
    assert mentions(again(TEXT)) == expected
