"""Labels that are asked for in single texts or calls."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

pytest.importorskip("spacy")

from spacy.language import Language
from spacy.tokens import Doc

from tests.pipeline.toy_pipeline import checkpoint_nlp, component, entities
from tests.toy_corpus import SENTENCES, parse

TEXT = "Ada met Bob Hill in Rome ."
PEOPLE, PLACES = [("Ada", "PER"), ("Bob Hill", "PER")], [("Rome", "LOC")]


@pytest.fixture
def nlp(toy_checkpoint: Path) -> Language:
    return checkpoint_nlp(toy_checkpoint)


def asked(nlp: Language, text: str, labels: object) -> Doc:
    doc = nlp.make_doc(text)
    doc._.padellm_labels = labels
    return doc


def test_labels_of_a_doc(nlp):
    wanted = [["PER"], ["LOC"], None, [], {"CITY": "LOC"}, ("LOC", "PER")]
    docs = [asked(nlp, TEXT, labels) for labels in wanted]
    found = [entities(doc) for doc in nlp.pipe(docs)]
    both = [*PEOPLE, *PLACES]
    assert found == [PEOPLE, PLACES, both, [], [("Rome", "CITY")], both]
    assert entities(nlp(asked(nlp, TEXT, ["LOC"]))) == PLACES
    assert entities(nlp(TEXT)) == both


def test_texts_with_different_labels_are_found_as_they_are_alone(toy_checkpoint: Path):
    nlp = checkpoint_nlp(toy_checkpoint)
    texts = [parse(markup).source.text for markup in SENTENCES[:12]]
    wanted = [["PER"], ["LOC", "ORG"], None, ["ORG"]] * 3
    together = list(nlp.pipe(map(asked, [nlp] * 12, texts, wanted)))
    model = component(nlp).padellm
    passes = model.cost.passes
    alone = [nlp(asked(nlp, *pair)) for pair in zip(texts, wanted, strict=True)]
    assert passes < model.cost.passes - passes
    assert [entities(doc) for doc in together] == [entities(doc) for doc in alone]
    assert sum(len(doc.ents) for doc in together) > 8
    for one, other in zip(together, alone, strict=True):
        scores = [[ent._.score for ent in doc.ents] for doc in (one, other)]
        assert scores[0] == pytest.approx(scores[1], abs=1e-5)


def test_labels_of_a_call(nlp):
    config = {"padellm_ner": {"labels": ["LOC"]}}
    docs = [TEXT, asked(nlp, TEXT, ["PER"])]
    assert [entities(doc) for doc in nlp.pipe(docs, component_cfg=config)] == [PLACES, PEOPLE]
    assert entities(nlp(TEXT, component_cfg=config)) == PLACES
    assert component(nlp).predict([nlp.make_doc(TEXT)], ["PER"])[0][0].label == "PER"


def test_labels_that_are_set(nlp):
    component(nlp).labels = ["LOC"]
    assert component(nlp).labels == ("LOC",) and entities(nlp(TEXT)) == PLACES
    component(nlp).labels = {"WHERE": "LOC", "PER": "PER"}
    assert entities(nlp(TEXT)) == [*PEOPLE, ("Rome", "WHERE")]


@pytest.mark.parametrize(
    "labels, code",
    [("PER", "P203"), ([""], "P007"), (["a\nb"], "P008"), ([1], "P212"), ({"PER": 1}, "P212")],
)
def test_labels_that_are_not_possible(nlp, labels, code):
    with pytest.raises(ValueError, match=code):
        nlp(asked(nlp, TEXT, labels))
    failed = []
    nlp.set_error_handler(lambda name, proc, docs, error: failed.extend(docs))
    wrong = asked(nlp, TEXT, labels)
    (doc,) = nlp.pipe([wrong, nlp.make_doc(TEXT)])
    assert entities(doc) == [*PEOPLE, *PLACES] and failed == [wrong]


def test_labels_that_were_never_trained_are_warned_of_once(nlp):
    nlp(TEXT)
    docs = [asked(nlp, TEXT, ["planet"]) for _ in range(3)]
    with pytest.warns(UserWarning, match="W206.*planet") as caught:
        list(nlp.pipe(docs))
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(nlp.pipe([asked(nlp, TEXT, ["planet"])]))


def test_long_texts_have_labels_too(nlp):
    text = " ".join(parse(markup).source.text for markup in SENTENCES[:20])
    found = {ent.label_ for ent in nlp(asked(nlp, text, ["ORG"])).ents}
    assert found == {"ORG"}
