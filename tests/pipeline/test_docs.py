"""Docs and texts: windows, gold, and entities written to a doc."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

import pytest

pytest.importorskip("spacy")

import numpy as np
import spacy
from hypothesis import given
from hypothesis import strategies as st
from spacy.tokens import Doc, DocBin, Span
from spacy.training import Example
from spacy.util import registry
from spacy.vocab import Vocab

from spacy_padellm.model import PaDeLLM
from spacy_padellm.pipeline.docs import (
    SpanGetter,
    annotate_doc,
    get_windows,
    register_extensions,
    windowed_texts,
)
from spacy_padellm.texts import AnnotatedText, Entity, Mention, TokenizedText
from tests.pipeline.toy_pipeline import (
    component,
    entities,
    initialized_nlp,
    make_example,
    mentions,
    strided,
)

NLP = spacy.blank("en")
NLP.add_pipe("sentencizer")


@cache
def model() -> PaDeLLM:
    """Reads the texts here; what it finds in them is of no account."""
    return component(initialized_nlp()).padellm


# Windows

PIECES = ["Ada", "don't", "北京", "😀", "e\u0301", ".", "!", " ", "  ", "\n", "\n\n", ",", "U.S."]

texts = st.lists(st.sampled_from(PIECES), max_size=15).map(" ".join)


def sentences():
    return registry.span_getters.get("spacy-transformers.sent_spans.v1")()


def whole_docs():
    return registry.span_getters.get("spacy-transformers.doc_spans.v1")()


@st.composite
def getters(draw: st.DrawFn):
    stride = draw(st.integers(1, 6))
    window = strided(stride + draw(st.integers(0, 6)), stride)
    return draw(st.sampled_from([None, window, sentences(), whole_docs()]))


@given(text=texts, get_spans=getters())
def test_windows_are_stretches_of_the_doc(text, get_spans):
    doc = NLP(text)
    (windows,) = get_windows([doc], model(), get_spans)
    places = {token.idx: token for token in doc}
    seen = set()
    for window in windows:
        end = window.start + len(window.text.text)
        assert doc.text[window.start : end] == window.text.text
        assert window.text.tokens
        for start, end in window.text.tokens:
            token = places[window.start + start]
            assert window.text.text[start:end] == token.text
            seen.add(token.i)
    # Each token is in at least one of them.
    assert seen == set(range(len(doc)))


def texts_of(docs: Sequence[Doc], get_spans: SpanGetter | None) -> list[list[str]]:
    windows = get_windows(docs, model(), get_spans)
    return [[window.text.text for window in of_doc] for of_doc in windows]


def test_each_doc_has_its_own_windows():
    docs = [NLP("a b c"), NLP(""), NLP("d . e ! f .")]
    assert texts_of(docs, None) == [
        ["a b c"],
        [],
        ["d . e ! f ."],
    ]
    assert texts_of(docs, strided(3, 2)) == [
        ["a b c"],
        [],
        ["d . e", "e ! f", "f ."],
    ]
    assert texts_of(docs, sentences()) == [
        ["a b c"],
        [],
        ["d .", "e !", "f ."],
    ]


# Gold


def taught(examples: Iterable[Example], get_spans: SpanGetter | None = None) -> list[AnnotatedText]:
    """What is taught of examples, window by window, as yet not encoded."""
    return [
        AnnotatedText(
            TokenizedText(window.source.text, window.source.tokens), window.mentions, window.labels
        )
        for text in windowed_texts(examples, "padellm", model(), get_spans)
        for _, window in text.windows
    ]


def test_texts_have_the_predicted_tokens_and_the_reference_mentions():
    predicted = NLP.make_doc("Ada can't .")
    reference = Doc(NLP.vocab, words=["Ada", "can't", "."], spaces=[True, True, False])
    reference.set_ents([Span(reference, 0, 1, "PER")])
    (text,) = taught([Example(predicted, reference)])
    tokens = ((0, 3), (4, 6), (6, 9), (10, 11))
    assert text == AnnotatedText(TokenizedText("Ada can't .", tokens), (Mention(0, 3, "PER"),))


def test_what_is_not_annotated_is_skipped():
    unknown = Example(NLP.make_doc("Ada left"), NLP.make_doc("Ada left"))
    known = make_example(NLP, "nobody left")
    empty = make_example(NLP, "")
    (text,) = taught([unknown, known, empty])
    assert text.source.text == "nobody left" and text.mentions == ()


def test_nested_gold_and_its_labels():
    example = make_example(NLP, "[University of [Oslo|LOC]|ORG]", labels=["ORG", "LOC"])
    (text,) = taught([example])
    assert text.mentions == (Mention(0, 18, "ORG"), Mention(14, 18, "LOC"))
    assert text.labels == ("ORG", "LOC")


def test_windows_have_the_mentions_within_them():
    example = make_example(NLP, "in [New York|LOC] [Ada|PER] met [Bob Hill|PER] again")
    getter = strided(4, 3)
    found = taught([example], getter)
    assert [(text.source.text, text.mentions) for text in found] == [
        ("in New York Ada", (Mention(3, 11, "LOC"), Mention(12, 15, "PER"))),
        ("Ada met Bob Hill", (Mention(0, 3, "PER"), Mention(8, 16, "PER"))),
        ("Hill again", ()),
    ]


def test_whole_texts_are_kept_beside_their_windows():
    example = make_example(NLP, "in [New York|LOC] [Ada|PER]", labels=["LOC", "PER"])
    (windowed,) = windowed_texts([example], "padellm", model(), strided(2, 2))
    (whole,) = taught([example])
    assert windowed.text == whole
    assert [start for start, _ in windowed.windows] == [0, 7]


def test_texts_that_differ():
    reference = NLP.make_doc("Ada Left")
    reference.set_ents([])
    with pytest.raises(ValueError, match=r"\[P205\].*'Ada left' and 'Ada Left'"):
        taught([Example(NLP.make_doc("Ada left"), reference)])


# Entities

TEXT = "University of New York City in New York"
NESTED = [
    Entity(0, 27, "ORG", 0.5),
    Entity(14, 22, "LOC", 0.25),
    Entity(14, 27, "LOC", 0.75),
    Entity(18, 34, "X", 0.625),
    Entity(31, 39, "LOC", 0.125),
]


def annotated(
    found: Sequence[Entity],
    *,
    before: Sequence[tuple[int, int, str]] = (),
    spans_key: str | None = "padellm",
    overwrite: bool = False,
) -> Doc:
    register_extensions()
    doc = NLP.make_doc(TEXT)
    doc.set_ents([Span(doc, *place, span_id="id") for place in before], default="missing")
    annotate_doc(doc, found, spans_key=spans_key, overwrite=overwrite)
    return doc


def scores_of(doc: Doc, spans_key: str = "padellm") -> list[float]:
    return doc.spans[spans_key].attrs["scores"].tolist()


def test_spans_hold_every_mention_with_its_score():
    doc = annotated(NESTED)
    assert mentions(doc) == [(TEXT[m.start : m.end], m.label) for m in NESTED]
    assert scores_of(doc) == [0.5, 0.25, 0.75, 0.625, 0.125]
    assert doc.spans["padellm"].attrs["scores"].dtype == np.float32


def test_entities_are_the_most_probable_that_do_not_overlap():
    doc = annotated(NESTED)
    assert entities(doc) == [("New York City", "LOC"), ("New York", "LOC")]
    assert [ent._.score for ent in doc.ents] == [0.75, 0.125]
    assert doc[1:2]._.score is None


def test_the_most_probable_chain_wins_over_more_mentions():
    found = [Entity(*m, "X", s) for *m, s in [(0, 13, 0.5), (11, 27, 0.75), (23, 39, 0.5)]]
    assert entities(annotated(found)) == [("of New York City", "X")]


def test_of_equals_the_longer_then_the_earlier_wins():
    found = [Entity(*m, "X", 0.5) for m in [(0, 13), (11, 27), (23, 30)]]
    assert entities(annotated(found)) == [("of New York City", "X")]
    found = [Entity(*m, "X", 0.5) for m in [(14, 30), (23, 39)]]
    assert entities(annotated(found[::-1])) == [("New York City in", "X")]
    same = [Entity(14, 22, label, 0.5) for label in ("B", "A")]
    assert entities(annotated(same)) == [("New York", "A")]


def test_entities_already_there_stay():
    doc = annotated(NESTED, before=[(2, 4, "GPE")])
    assert entities(doc) == [("New York", "GPE"), ("New York", "LOC")]
    assert [ent._.score for ent in doc.ents] == [None, 0.125]
    assert [ent.id_ for ent in doc.ents] == ["id", ""]
    # Only the entities: among the spans there is room for all.
    assert len(doc.spans["padellm"]) == len(NESTED)


def test_entities_already_there_make_way_if_they_overlap():
    before = [(2, 4, "GPE"), (0, 1, "GPE")]
    doc = annotated(NESTED, before=before, overwrite=True)
    assert entities(doc) == [
        ("University", "GPE"),
        ("New York City", "LOC"),
        ("New York", "LOC"),
    ]
    assert [ent.id_ for ent in doc.ents] == ["id", "", ""]


def test_scores_belong_to_the_entities_that_were_found():
    """Another component may put its own label on the same tokens."""
    doc = annotated(NESTED)
    city = doc.ents[0]
    doc.set_ents([Span(doc, city.start, city.end, "CITY")])
    assert doc.ents[0]._.score is None
    doc.ents[0]._.score = 0.5
    assert doc.ents[0]._.score == 0.5
    doc.set_ents([Span(doc, city.start, city.end, "LOC")])
    assert doc.ents[0]._.score is None


def test_without_a_group_tokens_may_be_merged_afterwards():
    """spaCy leaves the tokens of span groups as they were."""
    doc = annotated(NESTED, spans_key=None)
    assert not doc.spans
    found = entities(doc)
    with doc.retokenize() as retokenizer:
        for ent in doc.ents:
            retokenizer.merge(ent)
    assert entities(doc) == found and len(doc.ents[0]) == 1
    assert [ent._.score for ent in doc.ents] == [0.75, 0.125]
    assert entities(through_docbin(doc)) == found
    doc.to_json()


def test_docs_that_are_joined_keep_scores():
    doc = Doc.from_docs([annotated(NESTED), annotated(NESTED[:1])])
    assert [ent._.score for ent in doc.ents] == [0.75, 0.125, 0.5]


def test_scores_in_json():
    doc = annotated(NESTED)
    again = Doc(doc.vocab).from_json(doc.to_json(underscore=["score"]))
    assert [ent._.score for ent in again.ents] == [0.75, 0.125]


def test_no_mentions():
    doc = annotated([], before=[(2, 4, "GPE")])
    assert entities(doc) == [("New York", "GPE")]
    assert mentions(doc) == [] and scores_of(doc) == []
    assert len(annotated([], before=[(2, 4, "GPE")], overwrite=True).ents) == 1
    assert annotated([]).has_annotation("ENT_IOB", require_complete=True)


def test_the_group_has_the_key_asked_for():
    doc = annotated(NESTED[:1], spans_key="found")
    assert list(doc.spans) == ["found"] and scores_of(doc, "found") == [0.5]


def test_annotating_again_replaces_the_group():
    doc = annotated(NESTED)
    annotate_doc(doc, NESTED[:1], spans_key="padellm", overwrite=True)
    assert mentions(doc) == [("University of New York City", "ORG")] and scores_of(doc) == [0.5]


def through_docbin(doc: Doc) -> Doc:
    data = DocBin(docs=[doc], store_user_data=True).to_bytes()
    (loaded,) = DocBin(store_user_data=True).from_bytes(data).get_docs(Vocab())
    return loaded


def through_bytes(doc: Doc) -> Doc:
    return Doc(Vocab()).from_bytes(doc.to_bytes())


@pytest.mark.parametrize("copy", [through_docbin, through_bytes])
def test_round_trips(copy):
    doc = annotated(NESTED, before=[(6, 8, "GPE")])
    loaded = copy(doc)
    assert entities(loaded) == entities(doc) == [("New York City", "LOC"), ("New York", "GPE")]
    assert [ent._.score for ent in loaded.ents] == [0.75, None]
    assert mentions(loaded) == mentions(doc)
    assert scores_of(loaded) == scores_of(doc)
