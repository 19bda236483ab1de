from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_padellm.calibration import UNCALIBRATED, Calibration, temper

probabilities = st.floats(0, 1)
temperatures = st.floats(0.05, 50)


def log_odds(probability: float) -> float:
    return math.log(probability / (1 - probability))


@given(p=st.floats(0.001, 0.999), temperature=temperatures)
def test_log_odds_are_divided(p: float, temperature: float):
    expected = log_odds(p) / temperature
    assert temper(p, temperature) == pytest.approx(1 / (1 + math.exp(-expected)), abs=1e-12)


@given(p=probabilities, other=probabilities, temperature=temperatures)
def test_the_order_stays(p: float, other: float, temperature: float):
    both = temper(p, temperature), temper(other, temperature)
    assert min(both) >= 0 and max(both) <= 1
    if p < other:
        assert both[0] <= both[1]


@pytest.mark.parametrize("p", [0.0, 1e-300, 0.5, 1.0])
def test_what_no_temperature_moves(p: float):
    assert temper(p, 1.0) == p
    if p in (0, 0.5, 1):
        assert temper(p, 7.0) == p
    assert temper(p, 1e-9) in (0, 0.5, 1)


def test_a_score_has_the_parts_that_there_are():
    calibration = Calibration(written=2.0, tags=4.0)
    written, tagged = temper(0.9, 2.0), temper(0.8, 4.0)
    assert calibration.score(0.9, None, 0.7) == written
    assert calibration.score(None, 0.8, 0.7) == tagged
    assert calibration.score(0.9, 0.8, 0.7) == pytest.approx(0.3 * written + 0.7 * tagged)
    assert UNCALIBRATED.score(0.9, 0.8, 0.7) == pytest.approx(0.83)
    assert UNCALIBRATED.score(0.9, None, 0.7) == 0.9


@pytest.mark.parametrize("wrong", [{"written": 0.0}, {"tags": -1.0}, {"tags": math.nan}])
def test_temperatures_are_positive(wrong: dict[str, float]):
    with pytest.raises(ValueError, match="P026"):
        Calibration(**wrong)
