"""Labels that are asked for in single texts or calls."""

from __future__ import annotations

import random
import warnings
from collections.abc import Mapping
from pathlib import Path

import pytest

pytest.importorskip("spacy")

import torch
from spacy.language import Language
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Example
from spacy.util import minibatch

from spacy_padellm.corpus.docs import gold_spans
from spacy_padellm.pipeline.evaluation import evaluate_pipelines
from tests.pipeline.toy_pipeline import (
    SMALL_MODEL,
    checkpoint_nlp,
    component,
    entities,
    fresh_nlp,
    make_example,
)
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


WORDINGS = {"PER": ["person", "human"], "LOC": ["place", "spot"], "ORG": ["firm", "employer"]}
FLAT = [markup for markup in SENTENCES if "University" not in markup][:24]


def own_example(nlp: Language, markup: str, labels: Mapping[str, str]) -> Example:
    """An example that is asked for some labels under other names, and annotated for these."""
    eg = make_example(nlp, markup)
    names = {label: name for name, label in labels.items()}
    eg.reference.spans["padellm"] = [
        Span(eg.reference, span.start, span.end, names[span.label_])
        for span in gold_spans(eg.reference, "padellm")
        if span.label_ in names
    ]
    worded = {name: random.choice(WORDINGS[label]) for name, label in labels.items()}
    eg.reference._.padellm_labels = worded
    return eg


@pytest.mark.parametrize("label_vectors", [False, True])
def test_texts_are_learnt_with_labels_of_their_own(label_vectors):
    """Whatever they are called: the model reads the wording."""
    model = {**SMALL_MODEL, "tag_text": 0.3, "label_vectors": label_vectors}
    nlp = fresh_nlp(model=model, labels={"PER": "person"})
    random.seed(0)
    asked = [{"A": "PER"}, {"A": "LOC", "B": "PER"}, {"B": "ORG", "A": "LOC"}, {"B": "LOC"}]

    def draw() -> list[Example]:
        return [own_example(nlp, markup, random.choice(asked)) for markup in FLAT]

    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.manual_seed(0)
        nlp.initialize(draw)
        assert component(nlp).labels == ("PER",)
        optimizer = nlp.create_optimizer()
        optimizer.learn_rate = 2e-3
        for _ in range(80):
            for batch in minibatch(draw(), 6):
                nlp.update(batch, sgd=optimizer)
    found, gold = [], []
    for markup in FLAT:
        doc = nlp.make_doc(parse(markup).source.text)
        doc._.padellm_labels = {"X": "spot", "Y": "human"}
        names = {"LOC": "X", "PER": "Y"}
        with warnings.catch_warnings():
            # Nobody said that these wordings were trained on.
            warnings.simplefilter("ignore")
            found.append(entities(nlp(doc)))
        mentions = sorted(m for m in parse(markup).mentions if m.label in names)
        text = parse(markup).source.text
        gold.append([(text[m.start : m.end], names[m.label]) for m in mentions])
    right = sum(a == b for a, b in zip(found, gold, strict=True))
    assert right >= 0.9 * len(gold)


def test_what_cannot_be_taught_of_labels_of_their_own_is_reported():
    nlp = fresh_nlp(labels=["PER"], max_mention_tokens=1)
    examples = [
        own_example(nlp, "[Bob Hill|PER] met [Ada|PER] in [New York|LOC] .", {"A": "LOC"}),
        make_example(nlp, "[Ada|PER] met [Cleo|PER] ."),
    ]
    with pytest.warns(UserWarning, match="W070.*1 of 3 gold.*A 'New York'") as caught:
        nlp.initialize(lambda: examples)
    assert len(caught) == 1


def test_texts_with_labels_of_their_own_are_not_augmented():
    swap = {"@misc": "spacy_padellm.swap_mentions.v1", "rate": 1.0, "join": 3}
    nlp = fresh_nlp(labels=["PER"], augment=swap)
    own = own_example(nlp, "[Dan|PER] met [Cleo|PER] .", {"A": "PER"})
    examples = [own, *(make_example(nlp, markup) for markup in FLAT)]
    nlp.initialize(lambda: examples)
    pipe = component(nlp)
    (expected,) = pipe.make_trees([own])
    for _ in range(3):
        pipe.make_trees(examples)
        (tree,) = pipe.make_trees([own])
        assert tree.tree.ids == expected.tree.ids


def test_evaluation_asks_for_the_labels_of_each_text(toy_checkpoint: Path, tmp_path: Path):
    nlp = checkpoint_nlp(toy_checkpoint)
    docs = [
        own_example(nlp, markup, {"CITY": "LOC"}).reference for markup in FLAT if "|LOC]" in markup
    ]
    for doc in docs:
        doc._.padellm_labels = {"CITY": "LOC"}
    DocBin(docs=docs, store_user_data=True).to_disk(tmp_path / "cities.spacy")
    (row,) = evaluate_pipelines({"toy": nlp}, {"cities": tmp_path / "cities.spacy"})
    assert row["mentions_f"] == 1.0
    # Without labels of their own, they have mentions that nobody asked for.
    for doc in docs:
        doc._.padellm_labels = None
    DocBin(docs=docs, store_user_data=True).to_disk(tmp_path / "cities.spacy")
    (row,) = evaluate_pipelines({"toy": nlp}, {"cities": tmp_path / "cities.spacy"})
    assert row["mentions_f"] == 0.0
