from __future__ import annotations

import pytest

pytest.importorskip("spacy")

import spacy
from spacy.tokens import Doc, Span, SpanGroup
from spacy.training import Example

from spacy_padellm.core.texts import AnnotatedText, Mention, TokenizedText
from spacy_padellm.pipeline.gold import (
    annotated_labels,
    annotated_texts,
    gold_spans,
    has_gold,
    mentions_across_windows,
)

from .toy_pipeline import make_example, places, strided

NLP = spacy.blank("en")


def test_gold_is_the_span_group_else_the_entities():
    doc = NLP("Ada left Rome")
    doc.set_ents([Span(doc, 0, 1, "PER")])
    assert places(gold_spans(doc, "padellm")) == [(0, 3, "PER")]
    doc.spans["padellm"] = [Span(doc, 2, 3, "LOC")]
    assert places(gold_spans(doc, "padellm")) == [(9, 13, "LOC")]
    assert places(gold_spans(doc, "other")) == [(0, 3, "PER")]
    # An empty group states that there is nothing.
    doc.spans["padellm"] = []
    assert gold_spans(doc, "padellm") == []


def test_annotation():
    doc = NLP("Ada left Rome")
    assert not has_gold(doc, "padellm")
    doc.set_ents([])
    assert has_gold(doc, "padellm")
    doc = NLP("Ada left Rome")
    doc.spans["padellm"] = []
    assert has_gold(doc, "padellm") and not has_gold(doc, "other")


def test_annotated_labels():
    doc = NLP("Ada left Rome")
    assert annotated_labels(doc, "padellm") is None
    doc.spans["padellm"] = []
    assert annotated_labels(doc, "padellm") is None
    doc.spans["padellm"] = SpanGroup(doc, name="padellm", attrs={"labels": ["PER", "ORG"]})
    assert annotated_labels(doc, "padellm") == ("PER", "ORG")


def test_texts_have_the_predicted_tokens_and_the_reference_mentions():
    predicted = NLP.make_doc("Ada can't .")
    reference = Doc(NLP.vocab, words=["Ada", "can't", "."], spaces=[True, True, False])
    reference.set_ents([Span(reference, 0, 1, "PER")])
    (text,) = annotated_texts([Example(predicted, reference)], "padellm", None)
    tokens = ((0, 3), (4, 6), (6, 9), (10, 11))
    assert text == AnnotatedText(TokenizedText("Ada can't .", tokens), (Mention(0, 3, "PER"),))


def test_what_is_not_annotated_is_skipped():
    unknown = Example(NLP.make_doc("Ada left"), NLP.make_doc("Ada left"))
    known = make_example(NLP, "nobody left")
    empty = make_example(NLP, "")
    (text,) = annotated_texts([unknown, known, empty], "padellm", None)
    assert text.source.text == "nobody left" and text.mentions == ()


def test_nested_gold_and_its_labels():
    example = make_example(NLP, "[University of [Oslo|LOC]|ORG]", labels=["ORG", "LOC"])
    (text,) = annotated_texts([example], "padellm", None)
    assert text.mentions == (Mention(0, 18, "ORG"), Mention(14, 18, "LOC"))
    assert text.labels == ("ORG", "LOC")


def test_windows_have_the_mentions_within_them():
    example = make_example(NLP, "in [New York|LOC] [Ada|PER] met [Bob Hill|PER] again")
    getter = strided(4, 3)
    found = annotated_texts([example], "padellm", getter)
    assert [(text.source.text, text.mentions) for text in found] == [
        ("in New York Ada", (Mention(3, 11, "LOC"), Mention(12, 15, "PER"))),
        ("Ada met Bob Hill", (Mention(0, 3, "PER"), Mention(8, 16, "PER"))),
        ("Hill again", ()),
    ]
    assert mentions_across_windows(example, "padellm", getter) == []
    assert mentions_across_windows(example, "padellm", None) == []
    across = mentions_across_windows(example, "padellm", strided(2, 2))
    text = example.reference.text
    assert across == [(text, Mention(3, 11, "LOC")), (text, Mention(20, 28, "PER"))]


def test_texts_that_differ():
    reference = NLP.make_doc("Ada Left")
    reference.set_ents([])
    with pytest.raises(ValueError, match=r"\[P205\].*'Ada left' and 'Ada Left'"):
        annotated_texts([Example(NLP.make_doc("Ada left"), reference)], "padellm", None)
