from __future__ import annotations

import copy
import gc
import json
import os
import pickle
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

import pytest

pytest.importorskip("spacy")

import spacy
import srsly
import torch
from safetensors import safe_open
from spacy.language import Language
from spacy.tokens import DocBin
from spacy.util import load_model_from_config
from thinc.api import Adam
from transformers import AutoModelForCausalLM, AutoTokenizer

from spacy_padellm.checkpoints.loading import load_causal_lm
from spacy_padellm.model import PaDeLLM
from spacy_padellm.settings import Settings
from spacy_padellm.tree.causal_lm import CausalLM
from tests.pipeline.toy_pipeline import (
    checkpoint_nlp,
    component,
    entities,
    fresh_nlp,
    initialized_nlp,
    make_example,
    mentions,
)
from tests.toy_corpus import LABELS, parse

TEXT = "The University of Oslo hired Dan ."
OVERRIDE = "components.padellm_ner"


def result(nlp: Language) -> list[Any]:
    doc = nlp(TEXT)
    assert len(mentions(doc)) == 3
    return [entities(doc), mentions(doc), doc.spans["padellm"].attrs["scores"].tolist()]


def through_bytes(nlp: Language, tmp_path: Path) -> Language:
    return load_model_from_config(nlp.config).from_bytes(nlp.to_bytes())


def through_disk(nlp: Language, tmp_path: Path) -> Language:
    nlp.to_disk(tmp_path / "pipeline")
    return spacy.load(tmp_path / "pipeline")


def sourced(nlp: Language, tmp_path: Path) -> Language:
    other = spacy.blank("en")
    other.add_pipe("padellm_ner", source=nlp)
    return other


def copied(nlp: Language, tmp_path: Path) -> Language:
    other = spacy.blank("en")
    other._components.append(("padellm_ner", copy.deepcopy(component(nlp))))
    return other


@pytest.mark.parametrize("copy", [through_bytes, through_disk, sourced, copied])
def test_round_trips(toy_nlp: Language, copy: Callable[..., Language], tmp_path: Path):
    again = copy(toy_nlp, tmp_path)
    assert result(again) == result(toy_nlp)
    assert component(again).label_data == component(toy_nlp).label_data
    assert component(again).shim.settings == component(toy_nlp).shim.settings


@pytest.mark.parametrize("copy", [through_bytes, through_disk])
def test_a_saved_pipeline_needs_nothing_it_was_made_from(
    toy_checkpoint: Path, copy: Callable[..., Language], tmp_path: Path
):
    original = shutil.copytree(toy_checkpoint, tmp_path / "original")
    nlp = checkpoint_nlp(original)
    expected = result(nlp)
    data, config = nlp.to_bytes(), nlp.config
    nlp.to_disk(tmp_path / "pipeline")
    shutil.rmtree(original)
    if copy is through_bytes:
        again = load_model_from_config(config).from_bytes(data)
    else:
        again = spacy.load(tmp_path / "pipeline")
    assert result(again) == expected
    # Nor does what is made of it.
    again.to_disk(tmp_path / "again")
    again = spacy.load(tmp_path / "again")
    assert again.meta["labels"] == {"padellm_ner": LABELS}
    assert component(again).label_data == {label: label for label in LABELS}


@pytest.mark.parametrize("exists", [True, False])
def test_loading_does_not_look_at_the_original_folder(
    toy_checkpoint: Path, tmp_path: Path, exists: bool
):
    original = shutil.copytree(toy_checkpoint, tmp_path / "original")
    nlp = checkpoint_nlp(original)
    nlp.to_disk(tmp_path / "pipeline")
    expected = result(nlp)
    if exists:
        # Whatever is there now is not what the pipeline was made from.
        (original / "padellm.json").write_text("{")
        (original / "model.safetensors").write_bytes(b"")
    else:
        shutil.rmtree(original)
    assert result(spacy.load(tmp_path / "pipeline")) == expected


def test_loading_does_not_ask_the_hub(
    toy_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    nlp = checkpoint_nlp(toy_checkpoint)
    nlp.to_disk(tmp_path / "pipeline")
    path = tmp_path / "pipeline" / "config.cfg"
    path.write_text(path.read_text().replace(f'"{toy_checkpoint}"', '"some/hub-id"'))
    assert '"some/hub-id"' in path.read_text()

    def cached_file(*args: Any, **kwargs: Any) -> None:
        raise AssertionError(f"asked for {args}")

    monkeypatch.setattr("spacy_padellm.checkpoints.files.cached_file", cached_file)
    assert len(mentions(spacy.load(tmp_path / "pipeline")(TEXT))) == 3


def test_saving_over_the_folder_it_was_loaded_from(toy_folder: Path, tmp_path: Path):
    folder = shutil.copytree(toy_folder, tmp_path / "pipeline")
    files = sorted(path.name for path in (folder / "padellm_ner" / "model").iterdir())
    nlp = spacy.load(folder)
    before = result(nlp)
    optimizer = Adam(1e-4, use_averages=False)
    nlp.update([make_example(nlp, "[Dan|PER] left .")], sgd=optimizer)
    expected = result(nlp)
    assert expected[1] == before[1] and expected[2] != before[2]
    nlp.to_disk(folder)
    assert sorted(path.name for path in (folder / "padellm_ner" / "model").iterdir()) == files
    assert result(nlp) == result(spacy.load(folder)) == expected


def test_saving_over_the_checkpoint_it_was_made_from(toy_checkpoint: Path, tmp_path: Path):
    folder = shutil.copytree(toy_checkpoint, tmp_path / "pipeline" / "padellm_ner" / "model")
    nlp = checkpoint_nlp(folder)
    expected = result(nlp)
    nlp.to_disk(tmp_path / "pipeline")
    assert result(nlp) == result(spacy.load(tmp_path / "pipeline")) == expected


# What is on disk


def test_the_folder_is_one_of_hugging_face(toy_nlp: Language, toy_checkpoint: Path):
    model = AutoModelForCausalLM.from_pretrained(toy_checkpoint)
    tokenizer = AutoTokenizer.from_pretrained(toy_checkpoint)
    lm = component(toy_nlp).shim.lm
    assert type(model) is type(lm.model)
    for name, weight in lm.model.state_dict().items():
        assert torch.equal(model.state_dict()[name], weight)
    assert tokenizer.get_vocab() == lm.tokenizer.get_vocab()
    assert tokenizer.eos_token_id == lm.tokenizer.eos_token_id == model.config.eos_token_id
    with safe_open(toy_checkpoint / "model.safetensors", "pt") as weights:
        assert set(weights.keys()) <= set(lm.model.state_dict())
    settings = json.loads((toy_checkpoint / "padellm.json").read_text())
    assert settings["labels"] == {label: label for label in LABELS}
    assert settings["prefix_attention"] == "bidirectional"
    assert settings["softmax"] == "admissible"


def test_the_core_alone_runs_it(toy_nlp: Language, toy_checkpoint: Path):
    model = PaDeLLM.from_pretrained(str(toy_checkpoint))
    (found,) = model.predict([parse(TEXT).source], nested=True)
    assert [(TEXT[m.start : m.end], m.label) for m in found] == mentions(toy_nlp(TEXT))


def test_sharded_weights(toy_folder: Path, tmp_path: Path):
    expected = result(spacy.load(toy_folder))
    folder = shutil.copytree(toy_folder, tmp_path / "pipeline")
    checkpoint = folder / "padellm_ner" / "model"
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    (checkpoint / "model.safetensors").unlink()
    model.save_pretrained(checkpoint, max_shard_size="100KB")
    shards = sorted(path.name for path in checkpoint.glob("model-*.safetensors"))
    assert len(shards) > 1 and (checkpoint / "model.safetensors.index.json").is_file()
    assert result(checkpoint_nlp(checkpoint)) == expected
    nlp = spacy.load(folder)
    assert result(nlp) == expected
    assert result(load_model_from_config(nlp.config).from_bytes(nlp.to_bytes())) == expected
    # No shard is left over that a loader could take for the model.
    nlp.to_disk(folder)
    assert [path.name for path in checkpoint.glob("model*")] == ["model.safetensors"]
    assert result(spacy.load(folder)) == expected


@pytest.mark.slow
def test_weights_of_more_than_four_gibibytes(toy_folder: Path, tmp_path: Path):
    """Beyond what one number of 32 bits can count."""
    nlp = spacy.load(toy_folder)
    expected = result(nlp)
    model = component(nlp).shim.lm.model
    rows = 2**32 // (4 * model.config.hidden_size) + 1000
    model.resize_token_embeddings(rows, mean_resizing=False)
    nlp.to_disk(tmp_path / "pipeline")
    checkpoint = tmp_path / "pipeline" / "padellm_ner" / "model"
    assert sum(path.stat().st_size for path in checkpoint.glob("model*.safetensors")) > 2**32
    last = model.get_input_embeddings().weight[-1].clone()
    del nlp, model
    again = spacy.load(tmp_path / "pipeline")
    loaded = component(again).shim.lm.model
    assert torch.equal(loaded.get_input_embeddings().weight[-1], last)
    assert result(again) == expected


@pytest.mark.parametrize("name", ["padellm.json", "model.safetensors", "tokenizer.json"])
def test_an_incomplete_pipeline_is_an_error(toy_folder: Path, tmp_path: Path, name: str):
    folder = shutil.copytree(toy_folder, tmp_path / "pipeline")
    (folder / "padellm_ner" / "model" / name).unlink()
    with pytest.raises(ValueError, match=r"\[P041\].*If saving was interrupted, save it again"):
        spacy.load(folder)


@pytest.mark.parametrize("moved", [0, 2, 5])
def test_interrupted_saving_leaves_a_whole_pipeline(
    toy_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: int
):
    folder = shutil.copytree(toy_folder, tmp_path / "pipeline")
    nlp = spacy.load(folder)
    replace, done = os.replace, []

    def interrupted_replace(source: Path, target: Path) -> None:
        if len(done) == moved:
            raise KeyboardInterrupt
        done.append(target)
        replace(source, target)

    monkeypatch.setattr(os, "replace", interrupted_replace)
    with pytest.raises(KeyboardInterrupt):
        nlp.to_disk(folder)
    monkeypatch.undo()
    assert result(spacy.load(folder)) == result(nlp)
    nlp.to_disk(folder)
    assert result(spacy.load(folder)) == result(nlp)


# What a config may change


def test_overrides_in_load(toy_folder: Path, monkeypatch: pytest.MonkeyPatch):
    moved = []
    to = CausalLM.to
    monkeypatch.setattr(CausalLM, "to", lambda lm, device: moved.append(device) or to(lm, "cpu"))
    nlp = spacy.load(toy_folder, config={f"{OVERRIDE}.model.device": "cuda:1"})
    assert moved == ["cuda:1"]
    assert len(mentions(nlp(TEXT))) == 3
    scores = sorted(nlp(TEXT).spans["padellm"].attrs["scores"].tolist())
    threshold = (scores[0] + scores[1]) / 2
    # The other form that spaCy takes.
    for config in (
        {f"{OVERRIDE}.threshold": threshold},
        {"components": {"padellm_ner": {"threshold": threshold}}},
    ):
        nlp = spacy.load(toy_folder, config=config)
        assert len(mentions(nlp(TEXT))) == 2
    assert moved[1:] == ["cpu", "cpu"]


def test_overrides_of_a_checkpoints_pipeline(toy_checkpoint: Path, tmp_path: Path):
    checkpoint_nlp(toy_checkpoint).to_disk(tmp_path / "pipeline")
    config = {f"{OVERRIDE}.model.dtype": "bfloat16", f"{OVERRIDE}.spans_key": "found"}
    nlp = spacy.load(tmp_path / "pipeline", config=config)
    assert component(nlp).shim.lm.model.dtype == torch.bfloat16
    assert list(nlp(TEXT).spans) == ["found"]


def test_a_saved_pipeline_keeps_what_it_was_trained_with(toy_checkpoint: Path, tmp_path: Path):
    model = {"prefix_attention": "causal", "softmax": "vocabulary"}
    nlp = checkpoint_nlp(toy_checkpoint, model=model, labels={"PER": "PER"})
    nlp.to_disk(tmp_path / "pipeline")
    config = {
        f"{OVERRIDE}.model.prefix_attention": "bidirectional",
        f"{OVERRIDE}.model.softmax": "admissible",
        f"{OVERRIDE}.labels": ["ORG"],
    }
    ignored = r"\[W202\].*prefix_attention, softmax, labels \(ORG\)\..*`add_label`"
    with pytest.warns(UserWarning, match=ignored):
        again = spacy.load(tmp_path / "pipeline", config=config)
    settings = component(again).shim.settings
    assert (settings.prefix_attention, settings.softmax) == ("causal", "vocabulary")
    assert dict(settings.labels) == {"PER": "PER"}
    assert not component(again).shim.lm.bidirectional_prefix


def test_what_it_keeps_is_told_of_at_each_load(toy_checkpoint: Path, tmp_path: Path):
    causal = checkpoint_nlp(toy_checkpoint, model={"softmax": "vocabulary"})
    causal.to_disk(tmp_path / "pipeline")
    nlp = checkpoint_nlp(toy_checkpoint, model={"softmax": "admissible"})
    for _ in range(2):
        with pytest.warns(UserWarning, match=r"\[W202\].*: softmax\."):
            nlp.from_disk(tmp_path / "pipeline")


def test_the_model_there_was_is_gone_when_another_one_is_loaded(
    toy_nlp: Language, monkeypatch: pytest.MonkeyPatch
):
    """There may not be room for both."""
    data = toy_nlp.to_bytes()
    nlp = load_model_from_config(toy_nlp.config, auto_fill=True).from_bytes(data)
    assert nlp(TEXT).spans
    before, gone = weakref.ref(component(nlp).shim.lm), []

    def load(*args: Any, **options: Any) -> CausalLM:
        gc.collect()
        gone.append(before() is None)
        return load_causal_lm(*args, **options)

    monkeypatch.setattr("spacy_padellm.pipeline.shim.load_causal_lm", load)
    nlp.from_bytes(data)
    assert gone == [True]


@pytest.mark.filterwarnings("error")
def test_what_a_saved_pipeline_does_anyway_is_no_warning(toy_checkpoint: Path, tmp_path: Path):
    """Its config names fewer labels than it was trained with, for example."""
    nlp = checkpoint_nlp(toy_checkpoint, template="en", labels=["PER"])
    assert component(nlp).add_label("ORG") == 1
    nlp.to_disk(tmp_path / "pipeline")
    again = spacy.load(tmp_path / "pipeline")
    assert component(again).labels == ("PER", "ORG")
    config = {f"{OVERRIDE}.template": "zh"}
    with pytest.raises(UserWarning, match=r"\[W202\].*: template\."):
        spacy.load(tmp_path / "pipeline", config=config)


def limits_of(settings: Settings) -> tuple[int, int]:
    return settings.max_mentions, settings.max_mention_tokens


def test_a_checkpoint_knows_its_limits(toy_checkpoint: Path, tmp_path: Path):
    """What it was trained with, where the config says nothing."""
    for max_mentions, max_mention_tokens, expected in [
        (None, None, (5, 16)),
        (2, None, (2, 16)),
        (None, 3, (5, 3)),
    ]:
        limits = {"max_mentions": max_mentions, "max_mention_tokens": max_mention_tokens}
        nlp = checkpoint_nlp(toy_checkpoint, **limits)
        assert limits_of(component(nlp).shim.settings) == expected
        nlp.to_disk(tmp_path / "pipeline")
        saved = PaDeLLM.from_pretrained(str(tmp_path / "pipeline" / "padellm_ner" / "model"))
        assert limits_of(saved.settings) == expected
        assert limits_of(component(spacy.load(tmp_path / "pipeline")).shim.settings) == expected
    config = {f"{OVERRIDE}.max_mention_tokens": 1}
    nlp = spacy.load(tmp_path / "pipeline", config=config)
    assert limits_of(component(nlp).shim.settings) == (5, 1)
    doc = nlp(TEXT)
    assert mentions(doc) and all(len(span) == 1 for span in doc.spans["padellm"])


def test_a_pipeline_can_be_pickled_while_it_is_trained(toy_folder: Path):
    nlp = spacy.load(toy_folder)
    nlp.update([make_example(nlp, "[Ada|PER] met [Bob|PER]")], sgd=nlp.create_optimizer())
    pipe = pickle.loads(pickle.dumps(component(nlp)))
    (found,) = pipe.predict([nlp.make_doc(TEXT)])
    assert found == component(nlp).predict([nlp.make_doc(TEXT)])[0]


def test_initializing_a_saved_pipeline_fine_tunes_it_further(toy_checkpoint: Path, tmp_path: Path):
    """What it was once made from may be gone."""
    original = shutil.copytree(toy_checkpoint, tmp_path / "original")
    checkpoint_nlp(original).to_disk(tmp_path / "pipeline")
    shutil.rmtree(original)
    nlp = spacy.load(tmp_path / "pipeline")
    before = weights_of(nlp)
    nlp.initialize(lambda: [make_example(nlp, "[Ada|FOUNDER] left .")])
    assert component(nlp).labels == (*LABELS, "FOUNDER")
    assert torch.equal(weights_of(nlp), before)


def test_the_model_can_be_left_out(toy_nlp: Language, tmp_path: Path):
    pipe = component(toy_nlp)
    assert pipe.to_bytes(exclude=["model"]) == b""
    pipe.to_disk(tmp_path / "pipe", exclude=["model"])
    assert not (tmp_path / "pipe").exists()
    other = component(fresh_nlp(labels=["X"]))
    other.from_bytes(pipe.to_bytes(), exclude=["model"]).from_disk(tmp_path, exclude=["model"])
    assert other.labels == ("X",)
    with pytest.warns(UserWarning, match=r"\[W202\].*labels \(X\)"):
        assert other.from_bytes(pipe.to_bytes()).labels == tuple(LABELS)


def test_an_untrained_pipeline_cannot_be_saved(tmp_path: Path):
    nlp = fresh_nlp(labels=["PER"])
    for save in (nlp.to_bytes, lambda: nlp.to_disk(tmp_path / "pipeline")):
        with pytest.raises(ValueError, match=r"\[P202\].*Call `nlp\.initialize\(\)`"):
            save()
    nlp.initialize(lambda: [make_example(nlp, "[Ada|PER] left .")])
    nlp.to_disk(tmp_path / "pipeline")
    assert component(spacy.load(tmp_path / "pipeline")).labels == ("PER",)


def weights_of(nlp: Language) -> torch.Tensor:
    parameters = component(nlp).shim.lm.model.parameters()
    return torch.cat([parameter.detach().flatten() for parameter in parameters])


def initialize_again(nlp: Language) -> None:
    nlp.initialize(lambda: [make_example(nlp, "[Ada|PER] left .")])


def load_another(nlp: Language) -> None:
    other = initialized_nlp(["[Dan|PER] left .", "[Rome|LOC]"], labels={"PER": "PER"})
    nlp.from_bytes(other.to_bytes())


def load_another_from_disk(nlp: Language) -> None:
    other = initialized_nlp(["[Dan|PER] left .", "[Rome|LOC]"], labels={"PER": "PER"})
    with TemporaryDirectory() as folder:
        other.to_disk(folder)
        nlp.from_disk(folder)


@pytest.mark.parametrize("renew", [initialize_again, load_another, load_another_from_disk])
def test_nothing_is_left_of_an_earlier_model(
    toy_folder: Path, tmp_path: Path, renew: Callable[[Language], None]
):
    nlp = spacy.load(toy_folder)
    before = result(nlp)
    examples = [make_example(nlp, "[Dan|PER] left .")]
    optimizer = Adam(1e-2, use_averages=False)
    nlp.update(examples, sgd=optimizer)
    renew(nlp)
    # Predictions, training texts' tokens and optimizer are the new model's.
    nlp.to_disk(tmp_path / "pipeline")
    again = spacy.load(tmp_path / "pipeline")
    found, expected = nlp(TEXT), again(TEXT)
    assert mentions(found) == mentions(expected)
    scores = [doc.spans["padellm"].attrs["scores"].tolist() for doc in (found, expected)]
    assert scores[0] == scores[1] != before[2]
    assert torch.equal(weights_of(nlp), weights_of(again))
    losses = [each.update(examples, sgd=optimizer) for each in (nlp, again)]
    assert losses[0] == losses[1]
    assert torch.equal(weights_of(nlp), weights_of(again))
    untouched = spacy.load(tmp_path / "pipeline")
    assert not torch.equal(weights_of(nlp), weights_of(untouched))


def test_predictions_go_through_a_docbin(toy_nlp: Language):
    docs = [toy_nlp(text) for text in (TEXT, "Nothing happened today .", "")]
    data = DocBin(docs=docs, store_user_data=True).to_bytes()
    loaded = list(DocBin(store_user_data=True).from_bytes(data).get_docs(spacy.blank("en").vocab))
    for doc, expected in zip(loaded, docs, strict=True):
        assert entities(doc) == entities(expected) and mentions(doc) == mentions(expected)
        assert [ent._.score for ent in doc.ents] == [ent._.score for ent in expected.ents]
        scores = doc.spans["padellm"].attrs["scores"].tolist()
        assert scores == expected.spans["padellm"].attrs["scores"].tolist()
    assert len(loaded[0].ents) == 2 and loaded[0].ents[0]._.score > 0


@pytest.mark.parametrize("name", ["../evil", "{folder}/evil", "tokens/../../evil", "."])
def test_bytes_write_nothing_outside_their_folder(toy_nlp: Language, tmp_path: Path, name: str):
    name = name.format(folder=tmp_path)
    shim = component(toy_nlp).shim
    with pytest.raises(ValueError, match="P211"):
        shim.from_bytes(srsly.msgpack_dumps({name: b"x"}))
    assert not list(tmp_path.iterdir()) and not (Path(gettempdir()) / "evil").exists()
