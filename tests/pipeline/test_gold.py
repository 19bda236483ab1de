from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

pytest.importorskip("spacy")

import spacy
from spacy.tokens import Doc, Span
from spacy.training import Example

from spacy_padellm.core.objectives.gold import LeftOut
from spacy_padellm.core.texts import AnnotatedText, Mention, TokenizedText
from spacy_padellm.pipeline.gold import annotated_texts, count_left_out
from spacy_padellm.pipeline.windows import SpanGetter

from .toy_pipeline import make_example, strided

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


def find_long(text: AnnotatedText, labels: Sequence[str]) -> LeftOut:
    """As if mentions of five characters and more could not be taught."""
    found = [m for m in text.mentions if m.label in labels and m.end - m.start >= 5]
    return LeftOut(too_long=[(text.source.text, mention) for mention in found])


def find_none(text: AnnotatedText, labels: Sequence[str]) -> LeftOut:
    return LeftOut()


LABELLED = "in [New York|LOC] [Ada|PER] met [Bob Hill|PER] again"
NEW_YORK, BOB_HILL = Mention(3, 11, "LOC"), Mention(20, 28, "PER")


def left_out(
    get_spans: SpanGetter | None, find: Callable = find_none, labels: Sequence[str] = ("LOC", "PER")
) -> tuple[int, dict[str, list[Mention]]]:
    example = make_example(NLP, LABELLED)
    gold, found = count_left_out(example, "padellm", get_spans, labels, find)
    assert all(text == example.reference.text for each in vars(found).values() for text, _ in each)
    return gold, {reason: [m for _, m in each] for reason, each in vars(found).items() if each}


def test_gold_in_no_window_is_left_out():
    assert left_out(None) == (3, {})
    assert left_out(strided(4, 3)) == (3, {})
    assert left_out(strided(2, 2)) == (3, {"across_windows": [NEW_YORK, BOB_HILL]})


def test_gold_in_several_windows_counts_once():
    """Each window has half the tokens of the one before."""
    assert left_out(strided(4, 2), find_long) == (3, {"too_long": [NEW_YORK, BOB_HILL]})

    def find_in_first(text: AnnotatedText, labels: Sequence[str]) -> LeftOut:
        return find_long(text, labels) if text.source.text.startswith("in") else LeftOut()

    # Of the two windows with Bob Hill, the second one can teach him.
    assert left_out(strided(7, 3)) == (3, {})
    assert left_out(strided(7, 3), find_in_first) == (3, {"too_long": [NEW_YORK]})


def test_gold_of_labels_that_are_not_taught_does_not_count():
    assert left_out(strided(2, 2), labels=["LOC"]) == (1, {"across_windows": [NEW_YORK]})
    partly = make_example(NLP, LABELLED, labels=["PER"])
    assert count_left_out(partly, "padellm", None, ["ORG"], find_none)[0] == 0
    unknown = Example(NLP.make_doc("Ada left"), NLP.make_doc("Ada left"))
    assert count_left_out(unknown, "padellm", None, ["PER"], find_none) == (0, LeftOut())


def test_texts_that_differ():
    reference = NLP.make_doc("Ada Left")
    reference.set_ents([])
    with pytest.raises(ValueError, match=r"\[P205\].*'Ada left' and 'Ada Left'"):
        annotated_texts([Example(NLP.make_doc("Ada left"), reference)], "padellm", None)
