from __future__ import annotations

import copy
import operator
import pickle
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("spacy")

import spacy
from spacy.language import Language
from spacy.tokens import Doc
from thinc.api import Adam

from spacy_padellm.decode import replicas as replicas_module
from spacy_padellm.decode.decoder import ParallelDecoder
from spacy_padellm.tree.causal_lm import CausalLM
from tests.pipeline.toy_pipeline import (
    STRIDED,
    checkpoint_nlp,
    component,
    mentions,
    places,
    toy_examples,
)
from tests.toy_corpus import SENTENCES, parse

TEXT = "The University of Oslo hired Dan ."
TEXTS = [parse(markup).source.text for markup in SENTENCES[:21]]
OVERRIDE = "components.padellm_ner.model"


def nlp_on(folder: Path, count: int, **config: Any) -> Language:
    return checkpoint_nlp(folder, model={"devices": ["cpu"] * count}, **config)


def replicas_of(nlp: Language) -> list[CausalLM]:
    model = component(nlp).padellm
    return [model.lm] if model.replicas is None else model.replicas.of(model.lm)


def scores(doc: Doc) -> list[float]:
    return doc.spans["padellm"].attrs["scores"].tolist()


def assert_same(found: Sequence[Doc], expected: Sequence[Doc]) -> None:
    assert [doc.text for doc in found] == [doc.text for doc in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert places(ours.spans["padellm"]) == places(theirs.spans["padellm"])
        assert places(ours.ents) == places(theirs.ents)
        assert scores(ours) == pytest.approx(scores(theirs), abs=1e-5)


@pytest.mark.parametrize("batch_size", [1, 4, 50])
@pytest.mark.parametrize("count", [2, 3])
def test_docs_do_not_depend_on_the_number_of_replicas(
    toy_checkpoint: Path, count: int, batch_size: int
):
    expected = list(checkpoint_nlp(toy_checkpoint).pipe(TEXTS, batch_size=batch_size))
    assert sum(len(mentions(doc)) for doc in expected) > 30
    nlp = nlp_on(toy_checkpoint, count)
    assert_same(list(nlp.pipe(TEXTS, batch_size=batch_size)), expected)
    assert len(replicas_of(nlp)) == count
    # Once made, they stay.
    assert all(map(operator.is_, replicas_of(nlp), replicas_of(nlp)))


def test_windows_of_a_doc_are_divided_too(toy_checkpoint: Path):
    windows = {"@span_getters": STRIDED, "window": 12, "stride": 8}
    text = " ".join(TEXTS[:6])
    expected = checkpoint_nlp(toy_checkpoint, get_spans=windows)(text)
    assert len(mentions(expected)) > 4
    assert_same([nlp_on(toy_checkpoint, 3, get_spans=windows)(text)], [expected])


def test_labels_of_a_single_doc_are_divided(toy_checkpoint: Path, monkeypatch: pytest.MonkeyPatch):
    written = []
    write = ParallelDecoder.write

    def recording_write(self, texts, labels):
        written.append(list(labels))
        return write(self, texts, labels)

    monkeypatch.setattr(ParallelDecoder, "write", recording_write)
    nlp_on(toy_checkpoint, 2)(TEXT)
    assert len(written) == 2
    assert sorted(chain(*written)) == ["LOC", "ORG", "PER"]


def test_replicas_are_made_when_something_is_predicted(
    toy_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
):
    made = []
    replicate = replicas_module.replicate

    def recording_replicate(lm: CausalLM, devices: Sequence[str]) -> list[CausalLM]:
        made.append(replicate(lm, devices))
        return made[-1]

    monkeypatch.setattr(replicas_module, "replicate", recording_replicate)
    nlp = nlp_on(toy_checkpoint, 2)
    nlp.update(toy_examples(nlp)[:2], sgd=Adam(1e-3, use_averages=False))
    assert made == []
    nlp(TEXT)
    ((first, _),) = made
    assert first is component(nlp).shim.lm


@pytest.mark.parametrize("is_apart", [False, True], ids=["sharing weights", "with their own"])
def test_an_update_reaches_all_replicas(
    toy_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, is_apart: bool
):
    """Those on another device, for which copies stand in here, have weights of their own."""

    def copies(lm: CausalLM, devices: Sequence[str]) -> list[CausalLM]:
        model = copy.deepcopy(lm.model)
        return [lm, CausalLM(model, lm.tokenizer, bidirectional_prefix=True)]

    if is_apart:
        monkeypatch.setattr(replicas_module, "replicate", copies)
    single, several = checkpoint_nlp(toy_checkpoint), nlp_on(toy_checkpoint, 2)
    before = single(TEXT)
    assert_same([several(TEXT)], [before])
    for _ in range(2):
        for nlp in (single, several):
            nlp.update(toy_examples(nlp)[:6], sgd=Adam(5e-3, use_averages=False))
        after = list(single.pipe(TEXTS))
        assert scores(single(TEXT)) != pytest.approx(scores(before), abs=1e-4)
        assert_same(list(several.pipe(TEXTS)), after)
        assert_same([several(TEXT)], [single(TEXT)])


def test_what_is_loaded_has_new_replicas(toy_checkpoint: Path, tmp_path: Path):
    nlp = nlp_on(toy_checkpoint, 2)
    expected = nlp(TEXT)
    nlp.to_disk(tmp_path / "pipeline")
    saved = nlp.to_bytes()
    nlp.update(toy_examples(nlp)[:6], sgd=Adam(0.1, use_averages=False))
    changed = nlp(TEXT)
    assert scores(changed) != scores(expected)
    before = replicas_of(nlp)
    nlp.from_bytes(saved)
    assert_same([nlp(TEXT)], [expected])
    assert not set(before) & set(replicas_of(nlp))


def test_saved_pipelines_keep_their_devices(toy_checkpoint: Path, tmp_path: Path):
    nlp = nlp_on(toy_checkpoint, 3)
    expected = nlp(TEXT)
    nlp.to_disk(tmp_path / "pipeline")
    again = spacy.load(tmp_path / "pipeline")
    assert again.config["components"]["padellm_ner"]["model"]["devices"] == ["cpu"] * 3
    assert_same([again(TEXT)], [expected])
    assert len(replicas_of(again)) == 3
    config = {f"{OVERRIDE}.devices": ["cpu", "cpu"]}
    other = spacy.load(tmp_path / "pipeline", config=config)
    assert_same([other(TEXT)], [expected])
    assert len(replicas_of(other)) == 2
    one = spacy.load(tmp_path / "pipeline", config={f"{OVERRIDE}.devices": None})
    assert replicas_of(one) == [component(one).shim.lm]


def test_components_are_pickled_with_their_replicas(toy_checkpoint: Path):
    nlp = nlp_on(toy_checkpoint, 2)
    expected = nlp(TEXT)
    again = pickle.loads(pickle.dumps(component(nlp)))
    assert_same([again(nlp.make_doc(TEXT))], [expected])
    first, second = again.padellm.replicas.of(again.padellm.lm)
    assert first.model is not second.model


def test_the_first_device_is_the_one_to_train_on(
    toy_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
):
    moved = []
    monkeypatch.setattr(CausalLM, "to", lambda lm, device: moved.append(device) or lm)
    nlp = checkpoint_nlp(toy_checkpoint, model={"devices": ["cuda:1", "cuda:0"]})
    assert component(nlp).shim.lm.model.device.type == "cpu"
    assert moved == ["cuda:1"]


def test_one_device_or_several(toy_checkpoint: Path):
    model = {"device": "cuda", "devices": ["cuda:0", "cuda:1"]}
    with pytest.raises(ValueError, match=r"\[P065\].*'cuda'.*cuda:0, cuda:1"):
        checkpoint_nlp(toy_checkpoint, model=model)
    assert len(replicas_of(checkpoint_nlp(toy_checkpoint, model={"devices": []}))) == 1


def test_no_such_device(toy_checkpoint: Path):
    nlp = checkpoint_nlp(toy_checkpoint, model={"devices": ["cpu", "nowhere"]})
    with pytest.raises(ValueError, match=r"\[P045\].*'nowhere'"):
        nlp(TEXT)
