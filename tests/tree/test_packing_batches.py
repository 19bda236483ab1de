from __future__ import annotations

from itertools import chain, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_padellm.tree.packing import balance, batch_by_padded


@given(st.lists(st.integers(1, 50), max_size=30), st.integers(1, 200))
def test_batches_hold_everything_and_keep_to_the_budget(lengths, budget):
    batches = batch_by_padded(lengths, budget)
    assert sorted(item for batch in batches for item in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget
    in_order = [lengths[item] for batch in batches for item in batch]
    assert in_order == sorted(lengths)
    # None could have been taken along with the batch before.
    for before, after in pairwise(batches):
        assert (len(before) + 1) * lengths[after[0]] > budget


def test_a_budget_below_one():
    with pytest.raises(ValueError, match=r"P032.*batch_tokens is 0"):
        batch_by_padded([3, 4], 0)


@given(st.lists(st.integers(1, 60), max_size=20), st.integers(1, 6))
def test_shares_hold_everything_and_are_about_alike(loads, shares):
    made = balance(loads, shares)
    assert sorted(chain(*made)) == list(range(len(loads)))
    assert len(made) == min(shares, len(loads))
    assert all(share == sorted(share) for share in made)
    totals = [sum(loads[item] for item in share) for share in made]
    # Whatever came to a share last came to the one with the least.
    for share, total in zip(made, totals, strict=True):
        assert total - min(loads[item] for item in share) <= min(totals)
