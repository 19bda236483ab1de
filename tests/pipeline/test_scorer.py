from __future__ import annotations

from collections.abc import Sequence

import pytest

pytest.importorskip("spacy")

import spacy
from spacy.tokens import Span, SpanGroup
from spacy.training import Example
from spacy.util import registry

from spacy_padellm.pipeline.registered import make_mention_scorer
from spacy_padellm.pipeline.scorer import score_mentions

NLP = spacy.blank("en")
Place = tuple[int, int, str]


def example(
    text: str,
    found: Sequence[Place],
    gold: Sequence[Place] | None,
    *,
    nested: bool = False,
    labels: Sequence[str] | None = None,
    key: str = "padellm",
) -> Example:
    """Predicted mentions go to the span group and those that fit to the entities; gold ones to
    the entities, or to the group where they nest or state their labels.
    """
    predicted, reference = NLP.make_doc(text), NLP.make_doc(text)
    spans = [Span(predicted, *place) for place in found]
    predicted.spans[key] = spans
    predicted.set_ents(spacy.util.filter_spans(spans))
    if gold is not None:
        spans = [Span(reference, *place) for place in gold]
        reference.set_ents(spacy.util.filter_spans(spans))
        if nested or labels is not None:
            attrs = {} if labels is None else {"labels": list(labels)}
            reference.spans[key] = SpanGroup(reference, name=key, spans=spans, attrs=attrs)
    return Example(predicted, reference)


TEXT = "Ada told Ada of Bob in Rome"


def test_hand_worked():
    examples = [
        # Ada PER found once of two places, which is one string; Rome under the wrong label.
        example(
            TEXT, [(0, 1, "PER"), (6, 7, "ORG")], [(0, 1, "PER"), (2, 3, "PER"), (4, 5, "PER")]
        ),
        # The same string under two labels is two mentions, one of them right.
        example(TEXT, [(6, 7, "LOC"), (6, 7, "ORG")], [(6, 7, "LOC")]),
        # Nothing there, nothing found; then nothing there, one found.
        example(TEXT, [], []),
        example(TEXT, [(1, 2, "PER")], []),
    ]
    scores = score_mentions(examples)
    # Found: 2 + 2 + 0 + 1 strings, 2 of them gold; gold: Ada, Bob, Rome.
    assert scores["mentions_p"] == pytest.approx(2 / 5)
    assert scores["mentions_r"] == pytest.approx(2 / 3)
    assert scores["mentions_f"] == pytest.approx(2 * 2 / (5 + 3))
    # Entities are places: found 2 + 1 + 0 + 1, gold 3 + 1, and the second example's entity is the
    # first of the two labels.
    assert scores["ents_p"] == pytest.approx(2 / 4)
    assert scores["ents_r"] == pytest.approx(2 / 4)
    assert scores["ents_per_type"]["PER"] == {
        "p": pytest.approx(1 / 2),
        "r": pytest.approx(1 / 3),
        "f": pytest.approx(2 / 5),
    }
    assert set(scores["ents_per_type"]) == {"PER", "ORG", "LOC"}


def test_duplicates_count_once():
    both, one = [(0, 1, "PER"), (2, 3, "PER")], [(2, 3, "PER")]
    for found, gold in [(both, one), (one, both)]:
        scores = score_mentions([example(TEXT, found, gold)])
        assert scores["mentions_p"] == scores["mentions_r"] == scores["mentions_f"] == 1.0
        assert scores["ents_f"] < 1.0


def test_nested_gold_counts_for_mentions():
    text = "University of Oslo"
    gold = [(0, 3, "ORG"), (2, 3, "LOC")]
    scores = score_mentions([example(text, gold, gold, nested=True)])
    assert scores["mentions_f"] == scores["ents_f"] == 1.0
    scores = score_mentions([example(text, gold[:1], gold, nested=True)])
    assert (scores["mentions_p"], scores["mentions_r"], scores["ents_f"]) == (1.0, 0.5, 1.0)


def test_labels_a_text_is_not_annotated_for_do_not_count():
    found = [(0, 1, "PER"), (6, 7, "LOC")]
    annotated = example(TEXT, found, [(0, 1, "PER")], labels=["PER"])
    scores = score_mentions([annotated])
    assert scores["mentions_p"] == scores["mentions_r"] == 1.0
    assert scores["ents_p"] == scores["ents_r"] == 1.0
    assert set(scores["ents_per_type"]) == {"PER"}
    assert len(annotated.predicted.ents) == 2
    scores = score_mentions([example(TEXT, found, [(0, 1, "PER")], labels=["PER", "LOC"])])
    assert scores["mentions_p"] == scores["ents_p"] == 0.5


def test_another_key():
    examples = [example(TEXT, [(0, 1, "PER")], [(0, 1, "PER")], nested=True, key="found")]
    assert score_mentions(examples, spans_key="found")["mentions_f"] == 1.0


def test_without_annotation_there_are_no_scores():
    names = ["ents_p", "ents_r", "ents_f", "ents_per_type", *MENTION_SCORES]
    for examples in ([], [example(TEXT, [(0, 1, "PER")], None)]):
        scores = score_mentions(examples)
        assert {name: scores[name] for name in names} == dict.fromkeys(names)
    # Such a text is left out, not taken as one without mentions.
    known = example(TEXT, [(0, 1, "PER")], [(0, 1, "PER")])
    assert score_mentions([known, example(TEXT, [(4, 5, "PER")], None)])["mentions_p"] == 1.0


MENTION_SCORES = ("mentions_p", "mentions_r", "mentions_f")


def test_annotated_texts_without_mentions_score_zero():
    scores = score_mentions([example(TEXT, [], [])])
    assert [scores[name] for name in MENTION_SCORES] == [0.0, 0.0, 0.0]


def test_it_is_registered():
    assert registry.scorers.get("spacy_padellm.mention_scorer.v1") is make_mention_scorer
    assert make_mention_scorer() is score_mentions
