from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_padellm.corpus.parts import shuffle, take_part
from spacy_padellm.texts import AnnotatedText
from tests.sample_texts import cut_at_spaces


def texts(count: int) -> list[AnnotatedText]:
    return [AnnotatedText(cut_at_spaces(str(number)), ()) for number in range(count)]


@pytest.mark.parametrize(
    "part, numbers",
    [("0:0.6", range(6)), ("0.6:1", range(6, 10)), ("0:1", range(10)), ("0.25:.5", range(3, 5))],
)
def test_parts(part, numbers):
    assert take_part(texts(10), part) == [texts(10)[number] for number in numbers]


@given(count=st.integers(3, 50), place=st.floats(0.2, 0.8))
def test_parts_that_meet_share_nothing_and_leave_nothing_out(count, place):
    whole = texts(count)
    assert take_part(whole, f"0:{place}") + take_part(whole, f"{place}:1") == whole


@pytest.mark.parametrize(
    "part", ["", "0.5", "0.5:0.5", "0.6:0.5", "-0.1:1", "0:1.1", "a:b", "0:0.01"]
)
def test_what_is_no_part(part):
    with pytest.raises(ValueError, match=r"P122.*10 texts.*0:0.7"):
        take_part(texts(10), part)


@given(count=st.integers(0, 50), seed=st.integers(0, 9))
def test_shuffling_keeps_every_text_and_is_decided_by_the_seed(count, seed):
    shuffled = shuffle(texts(count), seed)
    assert sorted(shuffled, key=lambda each: int(each.source.text)) == texts(count)
    assert shuffle(texts(count), seed) == shuffled


def test_seeds_differ():
    assert (
        len({tuple(each.source.text for each in shuffle(texts(20), seed)) for seed in range(5)})
        == 5
    )
