from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_padellm.calibration import UNCALIBRATED, Calibration, temper
from spacy_padellm.decode.mentions import (
    DecodedMention,
    keep_most_probable,
    non_overlapping,
    rate,
    resolve,
)
from spacy_padellm.settings import DecodingOptions
from spacy_padellm.texts import Entity

TEXT = "Bob met Anna and Anna met Bob"
BOB, ANNA = ((0, 3), (26, 29)), ((8, 12), (17, 21))


def wrote(label: str, places: tuple[tuple[int, int], ...], score: float) -> DecodedMention:
    return DecodedMention(label, places, math.log(score))


def entities(*decoded: DecodedMention, **options) -> list[tuple[int, int, str, float]]:
    chosen = DecodingOptions(**options)
    mentions = rate(resolve(TEXT, decoded, chosen), UNCALIBRATED, chosen)
    return [(m.start, m.end, m.label, round(m.score, 6)) for m in mentions]


def test_nothing_was_written():
    assert entities() == []


def test_the_score_is_the_probability():
    assert entities(wrote("PER", ((4, 7),), 0.25)) == [(4, 7, "PER", 0.25)]


def test_the_kth_mention_written_so_takes_its_kth_place():
    assert entities(wrote("PER", ANNA, 0.5)) == [(8, 12, "PER", 0.5)]
    assert entities(wrote("PER", ANNA, 0.5), wrote("PER", BOB, 0.6), wrote("PER", ANNA, 0.7)) == [
        (0, 3, "PER", 0.6),
        (8, 12, "PER", 0.5),
        (17, 21, "PER", 0.7),
    ]


def test_of_strings_that_differ_in_case_those_with_capitals_come_first():
    text, us = "us, the US, us, US", ((0, 2), (8, 10), (12, 14), (16, 18))
    for count, expected in enumerate(
        ([(8, 10)], [(8, 10), (16, 18)], [(0, 2), *us[1:2], us[3]]), 1
    ):
        mentions = resolve(text, [wrote("LOC", us, 0.5)] * count, DecodingOptions())
        assert [(m.start, m.end) for m in mentions] == expected
    everywhere = DecodingOptions(occurrences="all")
    every = resolve(text, [wrote("LOC", us, 0.5)], everywhere)
    assert [(m.start, m.end) for m in every] == [(8, 10), (16, 18)]
    # Written once more, it is the other one's turn.
    both = resolve(text, [wrote("LOC", us, 0.5)] * 2, everywhere)
    assert [(m.start, m.end) for m in both] == list(us)


def test_labels_take_places_separately():
    found = entities(wrote("PER", ANNA, 0.5), wrote("ORG", ANNA, 0.5), deduplicate="span")
    assert found == [(8, 12, "PER", 0.5)]
    found = entities(
        wrote("PER", ANNA, 0.5),
        wrote("PER", ANNA, 0.5),
        wrote("ORG", ANNA, 0.6),
        deduplicate="span",
    )
    assert found == [(8, 12, "ORG", 0.6), (17, 21, "PER", 0.5)]


def test_a_mention_written_too_often_repeats_and_the_more_probable_counts():
    place = ((4, 7),)
    assert entities(wrote("PER", place, 0.3), wrote("PER", place, 0.4)) == [(4, 7, "PER", 0.4)]
    assert entities(wrote("PER", place, 0.4), wrote("PER", place, 0.3)) == [(4, 7, "PER", 0.4)]
    anna = [wrote("PER", ANNA, score) for score in (0.1, 0.2, 0.3, 0.15, 0.9)]
    assert entities(*anna) == [(8, 12, "PER", 0.9), (17, 21, "PER", 0.2)]


def test_all_occurrences():
    found = entities(wrote("PER", ANNA, 0.5), wrote("PER", BOB, 0.4), occurrences="all")
    assert found == [
        (0, 3, "PER", 0.4),
        (8, 12, "PER", 0.5),
        (17, 21, "PER", 0.5),
        (26, 29, "PER", 0.4),
    ]
    found = entities(wrote("PER", ANNA, 0.5), wrote("PER", ANNA, 0.7), occurrences="all")
    assert found == [(8, 12, "PER", 0.7), (17, 21, "PER", 0.7)]


def test_a_string_under_several_labels_stays_under_the_most_probable():
    """The paper's rule; every mention of the string under that label stays."""
    decoded = [
        wrote("ORG", ANNA, 0.6),
        wrote("PER", ANNA, 0.2),
        wrote("PER", ANNA, 0.7),
        wrote("LOC", BOB, 0.1),
    ]
    assert entities(*decoded) == [
        (0, 3, "LOC", 0.1),
        (8, 12, "PER", 0.2),
        (17, 21, "PER", 0.7),
    ]
    assert entities(*decoded, deduplicate="span") == [
        (0, 3, "LOC", 0.1),
        (8, 12, "ORG", 0.6),
        (17, 21, "PER", 0.7),
    ]


def test_strings_are_compared_as_they_stand_in_the_text():
    """A lower-casing tokenizer writes them alike, but they are not."""
    text = "BOB Bob"
    decoded = [wrote("PER", ((0, 3), (4, 7)), 0.5)] * 2 + [wrote("ORG", ((0, 3), (4, 7)), 0.9)]
    found = resolve(text, decoded, DecodingOptions())
    assert [(m.start, m.label) for m in found] == [(0, "ORG"), (4, "PER")]


def test_mentions_from_elsewhere_are_deduplicated_alike():
    """Those of overlapping windows, for one."""
    anna = [Entity(*place, "PER", 0.5) for place in ANNA]
    other = Entity(*ANNA[1], "ORG", 0.6)
    bob = Entity(*BOB[0], "LOC", 0.1)
    mentions = [*anna, other, bob]
    assert keep_most_probable(TEXT, mentions, DecodingOptions()) == [bob, other]
    by_span = DecodingOptions(deduplicate="span")
    assert keep_most_probable(TEXT, mentions, by_span) == [bob, anna[0], other]


def test_nested_mentions_are_all_kept():
    decoded = [wrote("ORG", ((8, 21),), 0.3), wrote("PER", ANNA, 0.9)]
    assert entities(*decoded) == [(8, 12, "PER", 0.9), (8, 21, "ORG", 0.3)]


def test_threshold():
    decoded = [wrote("PER", ANNA, 0.5), wrote("PER", BOB, 0.4), wrote("ORG", ((4, 7),), 0.6)]
    assert entities(*decoded, threshold=0.5) == [(4, 7, "ORG", 0.6), (8, 12, "PER", 0.5)]
    assert entities(*decoded, threshold=1.0) == []
    assert len(entities(*decoded, threshold=0.0)) == 3
    assert entities(DecodedMention("PER", BOB, 0.0), threshold=1.0) == [(0, 3, "PER", 1.0)]


def test_each_label_may_have_a_threshold():
    decoded = [wrote("PER", ANNA, 0.5), wrote("PER", BOB, 0.4), wrote("ORG", ((4, 7),), 0.6)]
    both = {"PER": 0.45, "ORG": 0.7}
    assert entities(*decoded, threshold=both) == [(8, 12, "PER", 0.5)]
    # The others keep all.
    assert len(entities(*decoded, threshold={"ORG": 0.7})) == 2
    assert len(entities(*decoded, threshold={})) == 3
    # A string stays under its most probable label, whatever the thresholds are.
    same = [wrote("PER", BOB, 0.5), wrote("ORG", BOB, 0.6)]
    assert entities(*same, threshold={"ORG": 0.7}) == []


def test_calibration_changes_scores_and_nothing_else():
    decoded = [
        tagged("PER", BOB, 0.9, 0.6, 0.6),
        tagged("ORG", BOB, 0.5, 0.75, 0.75),
        tagged("LOC", ((4, 7),), 0, 0.9),
        named("LOC", (8, 12), 0.8),
        tagged("LOC", ((17, 21),), 0.9, 0.2),
    ]
    options = DecodingOptions(tag_share=0.6, threshold=0.0)
    calibration = Calibration(written=2.0, tags=3.0)
    found = resolve(TEXT, decoded, options)
    rated = rate(found, calibration, options)
    parts = [(e.start, e.end, e.label, e.written, e.tagged) for e in found]
    assert parts == [(e.start, e.end, e.label, e.written, e.tagged) for e in rated]
    w, t = (lambda p: temper(p, 2.0)), (lambda p: temper(p, 3.0))
    assert [e.score for e in rated] == pytest.approx(
        [0.4 * w(0.9) + 0.6 * t(0.6), 0.6 * t(0.9), t(0.8)]
    )
    # Though calibrated it is less probable than not, it is found.
    assert rated[1].score < 0.5 < found[1].score
    # The threshold is for the score that is shown.
    sure = DecodingOptions(tag_share=0.6, threshold=0.6)
    assert [e.label for e in rate(found, calibration, sure)] == ["PER", "LOC"]
    assert rate(found, UNCALIBRATED, options) == found


scored = st.builds(
    lambda start, length, label, score: Entity(start, start + length, label, score),
    st.integers(0, 12),
    st.integers(1, 6),
    st.sampled_from(["A", "B"]),
    st.sampled_from([0.1, 0.5, 0.9]),
)
stretches = st.tuples(st.integers(0, 12), st.integers(1, 4)).map(lambda s: (s[0], sum(s)))


def overlap(a: tuple[int, int], b: tuple[int, int]) -> bool:
    return bool(set(range(*a)) & set(range(*b)))


@given(mentions=st.lists(scored, unique=True, max_size=10), taken=st.lists(stretches, max_size=3))
def test_what_is_kept_does_not_overlap_and_leaves_nothing_better_out(mentions, taken):
    kept = non_overlapping(mentions, taken)
    places = [(m.start, m.end) for m in kept]
    assert set(kept) <= set(mentions)
    assert places == sorted(places)
    for i, place in enumerate(places):
        assert not any(overlap(place, other) for other in places[i + 1 :])
        assert not any(overlap(place, other) for other in taken)
    for mention in set(mentions) - set(kept):
        place = (mention.start, mention.end)
        in_the_way = [m for m in kept if overlap(place, (m.start, m.end))]
        assert any(overlap(place, other) for other in taken) or any(
            m.score >= mention.score for m in in_the_way
        )


@given(mentions=st.lists(scored, unique=True, max_size=8), seed=st.randoms())
def test_the_order_of_the_mentions_does_not_matter(mentions, seed):
    shuffled = list(mentions)
    seed.shuffle(shuffled)
    assert non_overlapping(shuffled) == non_overlapping(mentions)


def test_of_equals_the_longer_then_the_earlier():
    first, second = Entity(0, 3, "A", 0.5), Entity(2, 5, "A", 0.5)
    longer = Entity(1, 5, "A", 0.5)
    assert non_overlapping([second, first]) == [first]
    assert non_overlapping([first, second, longer]) == [longer]
    better = Entity(2, 3, "A", 0.6)
    assert non_overlapping([first, second, longer, better]) == [better]


def test_neighbours_do_not_overlap():
    first, second = Entity(0, 3, "A", 0.5), Entity(3, 5, "A", 0.5)
    assert non_overlapping([first, second], taken=[(5, 9)]) == [first, second]


def tagged(label: str, places, score: float, *tags: float) -> DecodedMention:
    """One whose score is zero is named by tags only."""
    log_prob = math.log(score) if score else None
    return DecodedMention(label, places, log_prob, tags)


def resolve_tagged(*decoded: DecodedMention, share: float = 0.6, **options):
    return entities(*decoded, tag_share=share, **options)


def test_tags_count_by_their_share_and_a_mention_has_to_be_likely():
    bob = ((0, 3),)
    assert resolve_tagged(tagged("PER", bob, 0.5, 1.0)) == [(0, 3, "PER", 0.8)]
    assert resolve_tagged(tagged("PER", bob, 1.0, 0.2)) == [(0, 3, "PER", 0.52)]
    assert resolve_tagged(tagged("PER", bob, 0.95, 0.2)) == []
    assert resolve_tagged(tagged("PER", bob, 1.0, 0.2), threshold=0.6) == []
    # Without tags nothing has to be.
    assert resolve_tagged(wrote("PER", bob, 0.1)) == [(0, 3, "PER", 0.1)]


def test_each_place_has_its_own_tags():
    twice = [tagged("PER", ANNA, 0.5, 0.2, 0.9)] * 2
    assert resolve_tagged(*twice) == [(17, 21, "PER", 0.74)]
    assert resolve_tagged(*twice[:1], occurrences="all") == [(17, 21, "PER", 0.74)]


def test_what_only_tags_name_is_kept_where_nothing_written_is():
    bob, met = ((0, 3),), ((0, 7),)
    assert resolve_tagged(tagged("PER", bob, 0, 0.9)) == [(0, 3, "PER", 0.54)]
    assert resolve_tagged(tagged("PER", bob, 0, 0.8)) == []
    written = tagged("PER", bob, 0.5, 0.5)
    longer = tagged("ORG", met, 0, 0.99)
    # What is written and unlikely is in nobody's way.
    assert resolve_tagged(written, longer) == [(0, 7, "ORG", 0.594)]
    assert resolve_tagged(tagged("PER", bob, 0.6, 0.5), longer) == [(0, 3, "PER", 0.54)]


def test_what_only_tags_name_comes_after_labels_are_decided():
    """Under which label a string stands, is for what is written to say."""
    anna = tagged("PER", ANNA, 1.0, 0.9, 0.9)
    org = tagged("ORG", ANNA[:1], 1.0, 0.6)
    longer = tagged("PER", ((8, 16),), 0, 0.95)
    assert resolve_tagged(anna, org, longer) == [(8, 12, "PER", 0.94)]
    assert resolve_tagged(tagged("PER", ANNA[1:], 1.0, 0.9), org, longer) == [
        (8, 16, "PER", 0.57),
        (17, 21, "PER", 0.94),
    ]


def named(label: str, place, score: float, *, asked: bool = False) -> DecodedMention:
    return DecodedMention(label, (place,), None, (score,), asked)


def test_a_label_that_was_not_asked_for_has_the_probability_of_its_tags():
    assert resolve_tagged(named("PER", (0, 3), 0.8)) == [(0, 3, "PER", 0.8)]
    assert resolve_tagged(named("PER", (0, 3), 0.8), threshold=0.81) == []
    assert resolve_tagged(named("PER", (0, 3), 0.5)) == []
    # Unlike one that was asked for, and not written.
    assert resolve_tagged(named("PER", (0, 3), 0.9, asked=True)) == [(0, 3, "PER", 0.54)]


def test_what_was_not_asked_for_is_in_nobodys_way():
    """Nor is it kept from overlapping, as if it had been written."""
    written = tagged("LOC", ((0, 7),), 1.0, 0.6)
    assert resolve_tagged(written, named("PER", (0, 3), 0.9)) == [
        (0, 3, "PER", 0.9),
        (0, 7, "LOC", 0.76),
    ]
    assert resolve_tagged(written, named("PER", (0, 3), 0.9, asked=True)) == [(0, 7, "LOC", 0.76)]


def test_the_score_of_a_mention_at_a_place():
    def at(mention: DecodedMention, place: tuple[int, int], share: float):
        found = mention.at(place, share)
        return found and (found.start, found.end, found.score, found.written, found.tagged)

    mention = tagged("PER", ANNA, 0.5, 0.2, 0.9)
    assert at(mention, ANNA[0], 0.6) is None
    assert at(mention, ANNA[1], 0.6) == (17, 21, pytest.approx(0.74), pytest.approx(0.5), 0.9)
    assert at(mention, ANNA[1], 0.0) is None
    quarter = pytest.approx(0.25)
    assert at(wrote("PER", ANNA, 0.25), ANNA[0], 0.6) == (8, 12, quarter, quarter, None)
    assert at(tagged("PER", ANNA, 0, 0.9, 0.5), ANNA[0], 1.0) == (8, 12, 0.9, 0.0, 0.9)
    assert at(named("PER", (8, 12), 0.7), (8, 12), 0.6) == (8, 12, 0.7, None, 0.7)
