from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

pytest.importorskip("spacy")

import spacy
from spacy.language import Language
from spacy.tokens import DocBin

from spacy_padellm.calibrate.pipelines import (
    find_component,
    find_config,
    find_folder,
    read_corpus,
    store_calibration,
    store_thresholds,
)
from spacy_padellm.calibration import UNCALIBRATED, Calibration
from tests.pipeline.toy_pipeline import (
    SMALL_MODEL,
    component,
    entities,
    initialized_nlp,
    toy_examples,
    train_by_heart,
    write_docs,
)
from tests.toy_corpus import SENTENCES, parse

TEXT = parse(SENTENCES[0]).source.text
CALIBRATION = Calibration(written=2.0, tags=3.0)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    nlp = initialized_nlp(model={**SMALL_MODEL, "tag_text": 0.5})
    train_by_heart(nlp)
    folder = tmp_path_factory.mktemp("saved") / "pipeline"
    nlp.to_disk(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    spacy.load(saved).to_disk(tmp_path / "copy")
    return tmp_path / "copy"


def write_corpus(path: Path, markups: Sequence[str]) -> Path:
    docs = DocBin(store_user_data=True).from_disk(write_docs(path, markups))
    nlp = spacy.blank("en")
    # Not annotated at all.
    docs.add(nlp.make_doc("Nobody read this ."))
    docs.to_disk(path)
    return path


def scores(nlp: Language) -> list[float]:
    return [ent._.score for ent in nlp(TEXT).ents]


def test_calibration_is_stored_with_the_pipeline(folder: Path):
    before = spacy.load(folder)
    place = find_folder(str(folder), "padellm_ner")
    assert place == folder / "padellm_ner" / "model"
    store_calibration(place, CALIBRATION)
    stored = json.loads((place / "padellm.json").read_text())["calibration"]
    assert stored == {"written": 2.0, "tags": 3.0}
    after = spacy.load(folder)
    assert entities(after(TEXT)) == entities(before(TEXT)) != []
    found = component(before).predict([before.make_doc(TEXT)])[0]
    share = component(before).shim.options.tag_share
    expected = [CALIBRATION.score(each.written, each.tagged, share) for each in found]
    assert scores(after) == pytest.approx(expected) != scores(before)
    # It goes wherever the pipeline goes.
    copy = spacy.blank("en")
    copy.add_pipe("padellm_ner", source=after)
    copy.from_bytes(after.to_bytes())
    assert scores(copy) == pytest.approx(expected)


def test_what_is_trained_further_is_not_calibrated(folder: Path):
    store_calibration(find_folder(str(folder), "padellm_ner"), CALIBRATION)
    nlp = spacy.load(folder)
    assert component(nlp).shim.settings.calibration == CALIBRATION
    optimizer = nlp.resume_training()
    optimizer.learn_rate = 1e-4
    nlp.update(toy_examples(nlp, SENTENCES[:2]), sgd=optimizer)
    assert component(nlp).shim.settings.calibration == UNCALIBRATED


def test_a_corpus_is_read_whole(folder: Path, tmp_path: Path):
    """Whatever the threshold and the calibration are, as these are to be found."""
    path = write_corpus(tmp_path / "dev.spacy", SENTENCES[:6])
    nlp = spacy.load(folder)
    plain = list(read_corpus(nlp, component(nlp), path))
    assert [each.text.source.text for each in plain] == [
        parse(markup).source.text for markup in SENTENCES[:6]
    ]
    store_calibration(find_folder(str(folder), "padellm_ner"), CALIBRATION)
    strict = spacy.load(folder, config={"components.padellm_ner.threshold": 1.0})
    assert strict(TEXT).ents == ()
    again = list(read_corpus(strict, component(strict), path))
    assert [each.entities for each in again] == [each.entities for each in plain]
    assert all(each.score > 0.5 for text in plain for each in text.entities)
    assert len(list(read_corpus(nlp, component(nlp), path, limit=2))) == 2


def test_earlier_components_come_first(folder: Path, tmp_path: Path):
    """They may set the sentences that serve as windows; later ones are not needed."""
    get_spans = {"@span_getters": "spacy-transformers.sent_spans.v1"}
    config = {"components.padellm_ner.get_spans": get_spans}
    nlp = spacy.load(folder, config=config)
    nlp.add_pipe("sentencizer", before="padellm_ner")

    @Language.component("fails")
    def fails(doc):
        raise AssertionError("it is run")

    nlp.add_pipe("fails")
    path = write_corpus(tmp_path / "dev.spacy", SENTENCES[:3])
    assert len(list(read_corpus(nlp, component(nlp), path))) == 3
    assert nlp.pipe_names == ["sentencizer", "padellm_ner", "fails"]


def test_thresholds_are_stored_in_the_config(folder: Path):
    store_thresholds(find_config(f"{folder}:decode=tags"), "padellm_ner", {"PER": 1.0})
    nlp = spacy.load(folder)
    every = spacy.load(folder, config={"components.padellm_ner.threshold": 0.0})
    both = [[each for text in SENTENCES for each in entities(n(parse(text).source.text))]
            for n in (nlp, every)]  # fmt: skip
    assert {label for _, label in both[1]} > {label for _, label in both[0]} != set()
    assert both[0] == [each for each in both[1] if each[1] != "PER"]


@pytest.mark.parametrize("label", ["A:B", "A = B", "#A"])
def test_labels_that_a_config_cannot_hold(folder: Path, label: str):
    """Plain ones with blanks can be held."""
    config = find_config(str(folder))
    store_thresholds(config, "padellm_ner", {"programming language": 0.5})
    content = config.read_text()
    with pytest.raises(ValueError, match="P434"):
        store_thresholds(config, "padellm_ner", {label: 0.5})
    assert config.read_text() == content and not list(folder.glob("*.part"))
    with pytest.warns(UserWarning, match="W093"):
        spacy.load(folder)("Ada left .")


def test_where_nothing_can_be_stored(folder: Path, tmp_path: Path):
    for name in ("padellm_en_small", "padellm_en_small:decode=tags", str(tmp_path), "missing"):
        with pytest.raises(ValueError, match="P428"):
            find_folder(name, "padellm_ner")
    checkpoint = folder / "padellm_ner" / "model"
    assert find_folder(f"{checkpoint}:decode=tags", "padellm_ner") == checkpoint
    with pytest.raises(ValueError, match="P429"):
        find_config(str(checkpoint))


def test_one_component_is_calibrated(folder: Path):
    nlp = spacy.load(folder)
    assert find_component(nlp, "toy") is component(nlp)
    with pytest.raises(ValueError, match=r"P427.*has 0"):
        find_component(spacy.blank("en"), "blank")
    nlp.add_pipe("padellm_ner", name="second")
    with pytest.raises(ValueError, match=r"P427.*has 2"):
        find_component(nlp, "toy")
