"""Pipelines that write all mentions of a text in one sequence."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("spacy")

import spacy
from spacy.language import Language

from spacy_padellm.model import PaDeLLM
from tests.pipeline.toy_pipeline import (
    SMALL_MODEL,
    checkpoint_nlp,
    component,
    fresh_nlp,
    gold_places,
    initialized_nlp,
    make_example,
    mentions,
    places,
    toy_examples,
    train_by_heart,
)
from tests.toy_corpus import LABELS, SENTENCES, parse

FORMATS = ["augmented", "structured"]
VOCABULARY = {**SMALL_MODEL, "softmax": "vocabulary"}


@cache
def trained_nlp(output_format: str) -> Language:
    """Knows the toy corpus by heart. Tests leave it as it is."""
    nlp = initialized_nlp(model=VOCABULARY, output_format=output_format)
    train_by_heart(nlp)
    return nlp


@pytest.fixture(scope="module", params=FORMATS)
def nlp(request: pytest.FixtureRequest) -> Language:
    return trained_nlp(request.param)


def dropped(caplog: pytest.LogCaptureFixture) -> list[str]:
    records = [record for record in caplog.records if "malformed" in record.message]
    assert all(record.levelno == logging.WARNING for record in records)
    return [record.message for record in records]


def found_in(nlp: Language, markups: Sequence[str]) -> list[list[tuple[int, int, str]]]:
    texts = [parse(markup).source.text for markup in markups]
    return [places(doc.spans["padellm"]) for doc in nlp.pipe(texts)]


def test_what_was_learnt_is_found_and_scored(nlp: Language, caplog: pytest.LogCaptureFixture):
    examples = toy_examples(nlp)
    assert found_in(nlp, SENTENCES) == [gold_places(example) for example in examples]
    scores = nlp.evaluate(examples)
    assert scores["mentions_f"] == 1
    # Of nested ones `doc.ents` holds the most probable.
    assert 0.9 < scores["ents_p"] <= 1
    assert set(scores["ents_per_type"]) == set(LABELS)
    assert dropped(caplog) == []


def test_round_trips(nlp: Language, tmp_path: Path):
    expected = found_in(nlp, SENTENCES[:14])
    written = component(nlp).shim.settings.output_format
    nlp.to_disk(tmp_path / "pipeline")
    again = spacy.load(tmp_path / "pipeline")
    assert component(again).shim.settings.output_format == written
    assert found_in(again, SENTENCES[:14]) == expected
    # The checkpoint in it knows how it writes, with nothing said in a config.
    folder = tmp_path / "pipeline" / "padellm_ner" / "model"
    other = checkpoint_nlp(folder)
    assert found_in(other, SENTENCES[:14]) == expected
    model = PaDeLLM.from_pretrained(str(folder))
    found = model.predict([parse(markup).source for markup in SENTENCES[:14]], nested=True)
    assert [[(m.start, m.end, m.label) for m in each] for each in found] == expected
    other.update([make_example(other, "[Ada|PER] left .")], sgd=other.create_optimizer())


def test_a_saved_pipeline_keeps_its_format(nlp: Language, tmp_path: Path):
    nlp.to_disk(tmp_path / "pipeline")
    config = {"components.padellm_ner.output_format": "parallel"}
    with pytest.warns(UserWarning, match=r"\[W202\].*: output_format\."):
        again = spacy.load(tmp_path / "pipeline", config=config)
    written = component(nlp).shim.settings.output_format
    assert component(again).shim.settings.output_format == written
    assert found_in(again, SENTENCES[:2]) == found_in(nlp, SENTENCES[:2])


def test_training_starts_from_a_checkpoint_of_another_format(tmp_path: Path):
    """Also with what this one could not be taught with."""
    trained_nlp("augmented").to_disk(tmp_path / "pipeline")
    folder = tmp_path / "pipeline" / "padellm_ner" / "model"
    model = {"softmax": "admissible"}
    nlp = checkpoint_nlp(folder, model=model, output_format="parallel")
    settings = component(nlp).shim.settings
    assert (settings.output_format, settings.softmax) == ("parallel", "admissible")
    nlp("Ada left .")
    assert component(nlp).add_label("PLACE", "LOC") == 1
    stated = checkpoint_nlp(folder, model=model, output_format="parallel", labels=["PER"])
    assert component(stated).label_data == {"PER": "PER"}
    nlp.update(toy_examples(nlp, SENTENCES[:4]), sgd=nlp.create_optimizer())
    assert found_in(nlp, SENTENCES[:4])


@pytest.mark.parametrize("output_format", FORMATS)
def test_what_cannot_be_read_is_logged_once(output_format: str, caplog: pytest.LogCaptureFixture):
    """Of each batch."""
    nlp = initialized_nlp(model=VOCABULARY, output_format=output_format)
    texts = [parse(markup).source.text for markup in SENTENCES[:8]]
    assert len(list(nlp.pipe(texts, batch_size=8))) == 8
    (message,) = dropped(caplog)
    count = component(nlp).padellm.cost.malformed
    assert count >= 8 and message.startswith(f"{count} stretches ")
    caplog.clear()
    nlp(texts[0])
    (message,) = dropped(caplog)
    more = component(nlp).padellm.cost.malformed - count
    assert message.startswith(f"{more} stretches ") and 0 < more < count


def test_nothing_is_logged_of_mentions_written_in_parallel(caplog: pytest.LogCaptureFixture):
    nlp = initialized_nlp()
    list(nlp.pipe([parse(markup).source.text for markup in SENTENCES[:4]]))
    assert dropped(caplog) == []


def left_out(markups: Sequence[str], output_format: str, **config: Any) -> str:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        nlp = fresh_nlp(model=VOCABULARY, output_format=output_format, **config)
        partly = make_example(nlp, "[Ada|PER] met [Bob|PER] in Rome .", labels=["PER"])
        examples = [*toy_examples(nlp, markups), partly]
        nlp.initialize(lambda: examples)
        losses = component(nlp).update(examples[-1:])
    assert losses == {"padellm_ner": 0.0}
    messages = [str(w.message) for w in caught if "[W070]" in str(w.message)]
    (message,) = messages
    (other,) = [str(w.message) for w in caught if "[W071]" in str(w.message)]
    assert f"1 of {len(examples)} annotated texts" in other
    return message


def test_texts_without_mentions_that_teach_nothing_are_told_of():
    nlp = fresh_nlp(model=VOCABULARY, output_format="structured")
    empty = make_example(nlp, "Nobody was there .", labels=["PER"])
    with pytest.warns(UserWarning, match=r"\[W071\] 1 of 8 .*LOC, ORG, PER"):
        nlp.initialize(lambda: [*toy_examples(nlp, SENTENCES[:7]), empty])


def test_texts_annotated_for_other_labels_only_are_told_of():
    nlp = fresh_nlp(model=VOCABULARY)
    other = make_example(nlp, "Nobody was there .", labels=["FOOD"])
    with pytest.warns(UserWarning, match=r"\[W071\] 1 of 8 "):
        nlp.initialize(lambda: [*toy_examples(nlp, SENTENCES[:7]), other])


@pytest.mark.parametrize("output_format", FORMATS)
def test_partly_annotated_texts_are_not_taught(output_format: str):
    message = left_out(SENTENCES[:7], output_format)
    assert "2 partly annotated (for example PER 'Ada')" in message
    assert message.endswith('use output_format = "parallel".')


def test_the_most_mentions_do_not_limit_an_output():
    markups = ["[Rome|LOC] ; [Ada|PER] , [Bob|PER] , [Cleo|PER] , [Dan|PER]", *SENTENCES[:7]]
    assert "too many" not in left_out(markups, "structured", max_mentions=1)


@pytest.mark.parametrize("output_format", FORMATS)
def test_text_tags(output_format: str):
    model = {**VOCABULARY, "tag_text": 0.3}
    nlp = initialized_nlp(SENTENCES[:14], model=model, output_format=output_format)
    train_by_heart(nlp, SENTENCES[:14])
    assert mentions(nlp("Ada met Bob Hill in Rome ."))


def test_a_softmax_over_what_may_come_next():
    """Which is a small model's default."""
    nlp = fresh_nlp(output_format="augmented")
    with pytest.raises(ValueError, match=r"\[P037\].*'augmented'.*softmax is 'admissible'"):
        nlp.initialize(lambda: toy_examples(nlp))


def test_an_unknown_format():
    nlp = fresh_nlp(model=VOCABULARY, output_format="xml")
    with pytest.raises(ValueError, match=r"\[P031\] output_format is 'xml'"):
        nlp.initialize(lambda: toy_examples(nlp))
