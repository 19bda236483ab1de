from __future__ import annotations

import pytest

from spacy_padellm.scoring import MentionScores
from spacy_padellm.texts import Entity
from tests.toy_corpus import parse


def test_scores_are_micro_averaged_over_texts():
    scores = MentionScores()
    scores.add({("PER", "Anna"), ("LOC", "Rome")}, {("PER", "Anna"), ("PER", "Bob")})
    scores.add(set(), {("PER", "Anna")})
    scores.add({("ORG", "Rome")}, {("LOC", "Rome")})
    scores.add(set(), set())
    assert (scores.found_gold, scores.found, scores.gold) == (1, 3, 4)
    assert scores.precision == pytest.approx(1 / 3)
    assert scores.recall == pytest.approx(1 / 4)
    assert scores.fscore == pytest.approx(2 * (1 / 3) * (1 / 4) / (1 / 3 + 1 / 4))


@pytest.mark.parametrize(
    "found, gold", [(set(), set()), ({("A", "a")}, set()), (set(), {("A", "a")})]
)
def test_nothing_found_or_nothing_to_find(found, gold):
    scores = MentionScores()
    scores.add(found, gold)
    assert (scores.precision, scores.recall, scores.fscore) == (0.0, 0.0, 0.0)


def test_all_found():
    scores = MentionScores()
    scores.add({("A", "a"), ("B", "a")}, {("A", "a"), ("B", "a")})
    assert (scores.precision, scores.recall, scores.fscore) == (1.0, 1.0, 1.0)


def test_texts_are_scored_on_the_labels_looked_for():
    """One string twice is one mention; a label the text is not annotated for is unknown."""
    found = [
        Entity(0, 3, "PER", 1.0),
        Entity(10, 13, "PER", 1.0),
        Entity(17, 21, "LOC", 1.0),
    ]
    for labels, annotated, counts in [
        (["PER", "LOC"], None, (1, 2, 1)),
        (["PER", "LOC"], ["PER", "ORG"], (1, 1, 1)),
        (["PER", "LOC", "ORG"], None, (1, 2, 2)),
        (["LOC"], None, (0, 1, 0)),
    ]:
        scores = MentionScores()
        text = parse("[Ada|PER] asked [Ada|PER] in [Rome|ORG]", annotated)
        scores.add_text(text, found, labels)
        assert (scores.found_gold, scores.found, scores.gold) == counts
