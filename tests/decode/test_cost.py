from __future__ import annotations

from dataclasses import astuple

from hypothesis import given
from hypothesis import strategies as st

from spacy_padellm.decode.cost import DecodingCost, sum_costs

numbers = st.integers(0, 99)
# Seconds that add up without rounding.
seconds = st.none() | st.integers(0, 99).map(float)
costs = st.builds(DecodingCost, numbers, numbers, numbers, numbers, numbers, seconds)


@given(st.lists(costs, max_size=5))
def test_costs_add_up_field_by_field(listed):
    total = sum_costs(listed)
    for found, *each in zip(astuple(total), *map(astuple, listed), strict=True):
        assert (found or 0) == sum(filter(None, each))
    is_simulated = any(cost.simulated_seconds is not None for cost in listed)
    assert (total.simulated_seconds is not None) is is_simulated
