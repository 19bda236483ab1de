from __future__ import annotations

import pytest

pytest.importorskip("spacy")

import spacy
from spacy.tokens import Doc, Span
from spacy.training import Example

from spacy_padellm.pipeline.gold import annotated_texts, windowed_texts
from spacy_padellm.texts import AnnotatedText, Mention, TokenizedText
from tests.pipeline.toy_pipeline import make_example, strided

NLP = spacy.blank("en")


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


def test_whole_texts_are_kept_beside_their_windows():
    example = make_example(NLP, "in [New York|LOC] [Ada|PER]", labels=["LOC", "PER"])
    (windowed,) = windowed_texts([example], "padellm", strided(2, 2))
    (whole,) = annotated_texts([example], "padellm", None)
    assert windowed.text == whole
    assert [start for start, _ in windowed.windows] == [0, 7]


def test_texts_that_differ():
    reference = NLP.make_doc("Ada Left")
    reference.set_ents([])
    with pytest.raises(ValueError, match=r"\[P205\].*'Ada left' and 'Ada Left'"):
        annotated_texts([Example(NLP.make_doc("Ada left"), reference)], "padellm", None)
