from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_padellm.calibrate.measures import (
    Judged,
    ReadText,
    Setting,
    choose_thresholds,
    count_gold,
    expected_error,
    find_targets,
    find_temperatures,
    judge,
    make_bins,
    make_curve,
    summarize,
)
from spacy_padellm.calibration import Calibration, temper
from spacy_padellm.texts import AnnotatedText, Entity, Mention
from tests.sample_texts import cut_at_spaces


def judged(score: float, is_right: bool, label: str = "PER") -> Judged:
    return Judged(Entity(0, 1, label, score), is_right)


many = st.lists(st.builds(judged, st.floats(0, 1), st.booleans()), max_size=30)


@pytest.mark.parametrize(
    "true", [Calibration(2.5, 1.0), Calibration(1.0, 1.6), Calibration(3.0, 1.5), Calibration(0.6)]
)
def test_temperatures_are_found(true: Calibration):
    """Entities are right as often as their tempered probabilities say."""
    draw = random.Random(0)
    both = true.written != 1 and true.tags != 1
    found = []
    for _ in range(8000):
        written = draw.random() if true.written != 1 else None
        tagged = draw.random() if true.tags != 1 else None
        score = true.score(written, tagged, 0.5)
        entity = Entity(0, 1, "PER", 0.0, written, tagged)
        found.append(Judged(entity, draw.random() < score))
    fitted = find_temperatures(found, 0.5)
    assert fitted.written == pytest.approx(true.written, rel=0.25 if both else 0.1)
    assert fitted.tags == pytest.approx(true.tags, rel=0.25 if both else 0.1)


def test_temperatures_of_what_is_always_right_have_a_limit():
    sure = [Judged(Entity(0, 1, "PER", 0.0, 1.0, None), is_right) for is_right in (True, False)]
    assert 0.1 <= find_temperatures(sure, 0.5).written <= 10


@given(found=many, count=st.integers(1, 12))
def test_bins_divide_all_entities(found: list[Judged], count: int):
    bins = make_bins(found, count)
    assert sum(each.size for each in bins) == len(found)
    for each in bins:
        own = [
            (entity.score, is_right)
            for entity, is_right in found
            if min(int(entity.score * count), count - 1) == round(each.low * count)
        ]
        assert len(own) == each.size
        assert each.score == pytest.approx(sum(score for score, _ in own) / len(own))
        assert each.precision == pytest.approx(sum(is_right for _, is_right in own) / len(own))
    error = expected_error(bins)
    assert 0 <= error <= 1
    assert not found or error == pytest.approx(
        sum(each.size * abs(each.score - each.precision) for each in bins) / len(found)
    )


def test_the_expected_error():
    sure = [judged(0.95, is_right) for is_right in (True, True, True, False)]
    unsure = [judged(0.5, is_right) for is_right in (True, False)]
    # .95 where .75 are right, of four; .5 where half are, of two.
    assert expected_error(make_bins([*sure, *unsure])) == pytest.approx(0.2 * 4 / 6)
    assert make_bins([]) == [] and expected_error([]) == 0


@given(found=many, more=st.integers(0, 5))
def test_each_threshold_of_a_curve_finds_what_it_says(found: list[Judged], more: int):
    gold = sum(each.is_right for each in found) + more
    curve = make_curve(found, gold)
    assert curve[0].threshold == 0
    thresholds = [each.threshold for each in curve]
    assert thresholds == sorted(set(thresholds))
    for setting in curve:
        kept = [each for each in found if each.entity.score >= setting.threshold]
        right = sum(each.is_right for each in kept)
        assert setting.precision == pytest.approx(right / len(kept) if kept else 0)
        assert setting.recall == pytest.approx(right / gold if gold else 0)
        total = len(kept) + gold
        assert setting.fscore == pytest.approx(2 * right / total if total else 0)


@given(found=many, more=st.integers(0, 5), precision=st.floats(0, 1), recall=st.floats(0, 1))
def test_thresholds_reach_their_targets(found, more, precision, recall):
    gold = {"PER": sum(each.is_right for each in found) + more}
    curve = make_curve(found, gold["PER"])
    best, precise, complete = (
        choose_thresholds(found, gold, target)["PER"] for target in find_targets(precision, recall)
    )
    assert best is not None and best.fscore == max(each.fscore for each in curve)
    reached = [each for each in curve if each.precision >= precision]
    assert (precise is None) is (not reached)
    if precise is not None:
        assert precise.recall == max(each.recall for each in reached)
    reached = [each for each in curve if each.recall >= recall]
    assert (complete is None) is (not reached)
    if complete is not None:
        assert complete.precision == max(each.precision for each in reached)


TEXT = cut_at_spaces("Ada met Bob in Rome")
ADA, BOB, ROME = (0, 3), (8, 11), (15, 19)


def read(*entities: Entity, mentions=(), **annotation) -> ReadText:
    gold = tuple(Mention(*place, label) for place, label in mentions)
    return ReadText(AnnotatedText(TEXT, gold, **annotation), entities)


def entity(place: tuple[int, int], label: str, tagged: float) -> Entity:
    return Entity(*place, label, tagged, None, tagged)


def test_right_is_what_has_the_place_and_the_label():
    found = [entity(ADA, "PER", 0.9), entity(BOB, "LOC", 0.8), entity(ROME, "LOC", 0.7)]
    text = read(*found, mentions=[(ADA, "PER"), (BOB, "PER"), (ROME, "LOC")])
    each = judge([text], 0.5)
    assert [(e.label, e.score, is_right) for e, is_right in each] == [
        ("PER", 0.9, True),
        ("LOC", 0.8, False),
        ("LOC", 0.7, True),
    ]
    assert count_gold([text, text], ["PER", "ORG"]) == {"PER": 4, "ORG": 0}
    assert summarize(each, {"PER": 2, "LOC": 1}) == Setting(0, 2 / 3, 2 / 3, 2 / 3)


def test_scores_are_calibrated_before_thresholds():
    text = read(entity(ADA, "PER", 0.9), entity(ROME, "LOC", 0.9), mentions=[(ADA, "PER")])
    ((only, is_right),) = judge([text], 0.5, Calibration(tags=2.0), {"LOC": 0.8})
    assert (only.label, is_right) == ("PER", True)
    assert only.score == temper(0.9, 2.0) < 0.8


def test_of_entities_that_overlap_one_counts():
    text = read(entity(ADA, "PER", 0.9), entity((0, 7), "ORG", 0.6), mentions=[(ADA, "PER")])
    assert [each.entity.label for each in judge([text], 0.5)] == ["PER"]


def test_what_is_not_annotated_is_left_out():
    found = [entity(ADA, "PER", 0.9), entity(BOB, "ORG", 0.9), entity(ROME, "LOC", 0.9)]
    of_people = read(*found, mentions=[(ADA, "PER")], labels=("PER", "LOC"))
    assert [each.entity.label for each in judge([of_people], 0.5)] == ["PER", "LOC"]
    in_part = read(*found, unknown=(Mention(9, 20, ""),))
    assert [each.entity.label for each in judge([in_part], 0.5)] == ["PER"]
