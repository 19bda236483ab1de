from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_padellm.core.texts import AnnotatedText
from spacy_padellm.corpus.parts import take_part
from tests.core.sample_texts import cut_at_spaces


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
