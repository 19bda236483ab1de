from __future__ import annotations

from itertools import chain, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_padellm.tree.packing import balance, batch_by_padded, first_fit, pack, work

some_sizes = st.lists(st.integers(1, 60), max_size=40)


@given(data=st.data(), sizes=some_sizes, capacity=st.integers(1, 100))
def test_each_item_is_in_the_first_row_with_room(
    data: st.DataObject, sizes: list[int], capacity: int
) -> None:
    order = data.draw(st.permutations(range(len(sizes))))
    rows = first_fit(sizes, order, capacity)
    assert sorted(chain(*rows)) == list(range(len(sizes)))
    placed = {item: place for place, item in enumerate(order)}
    for number, row in enumerate(rows):
        assert row == sorted(row, key=placed.__getitem__)
        assert len(row) == 1 or sum(sizes[item] for item in row) <= capacity
        for item in row:
            # No row before had room when it came.
            for earlier in rows[:number]:
                there = sum(sizes[other] for other in earlier if placed[other] < placed[item])
                assert there + sizes[item] > capacity


@given(sizes=some_sizes, capacity=st.integers(1, 100), open_rows=st.integers(1, 5))
def test_few_open_rows_hold_everything_too(sizes: list[int], capacity: int, open_rows: int) -> None:
    rows = first_fit(sizes, range(len(sizes)), capacity, open_rows)
    assert sorted(chain(*rows)) == list(range(len(sizes)))
    assert all(len(row) == 1 or sum(sizes[item] for item in row) <= capacity for row in rows)
    # Where they are enough, they are as good as all.
    everywhere = first_fit(sizes, range(len(sizes)), capacity)
    assert len(rows) >= 1 or not sizes
    if len(everywhere) <= open_rows:
        assert rows == everywhere


def test_the_row_with_the_least_room_is_closed() -> None:
    """So the last item finds room in the first row, or none at all."""
    assert first_fit([4, 9, 8, 1], range(4), 10, open_rows=2) == [[0, 3], [1], [2]]
    assert first_fit([9, 4, 8, 1], range(4), 10) == [[0, 3], [1], [2]]
    assert first_fit([9, 4, 8, 1], range(4), 10, open_rows=2) == [[0], [1, 3], [2]]


@given(st.lists(st.integers(1, 60), min_size=1, max_size=40))
def test_every_tree_has_a_place_of_its_own(sizes: list[int]) -> None:
    packing = pack(sizes)
    rows, width = packing.shape
    taken: set[tuple[int, int]] = set()
    for size, row, start in zip(sizes, packing.rows, packing.offsets, strict=True):
        own = {(row, start + place) for place in range(size)}
        assert not own & taken
        taken |= own
    assert all(row < rows and place < width for row, place in taken)
    assert rows <= len(sizes)
    assert width <= 2 * max(sizes)


def test_short_trees_share_a_row() -> None:
    assert pack([10, 3, 7, 5, 5]) == ([0, 1, 1, 2, 2], [0, 7, 0, 0, 5], (3, 10))


def test_rows_are_wider_where_that_leaves_less_padding() -> None:
    assert pack([10, 6, 6, 6]).shape == (2, 16)
    assert pack([10, 10]).shape == (2, 10)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 90)), min_size=1, max_size=40))
def test_packing_takes_no_more_time_than_a_row_for_each_tree(trees):
    """Whatever the trees have in the cache."""
    sizes, kept = map(list, zip(*trees, strict=True))
    packing = pack(sizes, kept)
    rows, width = packing.shape
    slots = [0] * rows
    for row, of_tree in zip(packing.rows, kept, strict=True):
        slots[row] += of_tree
    alone = work(len(sizes), max(sizes), max(kept))
    assert work(rows, width, max(slots)) <= alone
    # Trees of which nothing is run are not all in one row.
    if not any(sizes):
        assert max(packing.rows.count(row) for row in packing.rows) <= 2


def test_what_is_in_the_cache_makes_wide_rows_slow():
    # Two trees of one token each, beside a tree of two.
    assert pack([2, 1, 1], [10, 10, 10]).shape == (2, 2)
    assert pack([8, 2, 2, 2, 2], [10] * 5).shape == (2, 8)
    assert pack([2, 1, 1], [10, 5000, 5000]).shape == (3, 2)


@given(st.lists(st.integers(1, 50), max_size=30), st.integers(1, 200))
def test_batches_hold_everything_and_keep_to_the_budget(sizes: list[int], budget: int) -> None:
    batches = batch_by_padded(sizes, budget)
    assert sorted(chain(*batches)) == list(range(len(sizes)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(sizes[i] for i in batch) <= budget
    in_order = [sizes[item] for batch in batches for item in batch]
    assert in_order == sorted(sizes)
    # None could have been taken along with the batch before.
    for before, after in pairwise(batches):
        assert (len(before) + 1) * sizes[after[0]] > budget


def test_a_budget_below_one() -> None:
    with pytest.raises(ValueError, match=r"P032.*batch_tokens is 0"):
        batch_by_padded([1], 0)


@given(st.lists(st.integers(1, 60), max_size=20), st.integers(1, 6))
def test_shares_hold_everything_and_are_about_alike(loads: list[int], shares: int) -> None:
    made = balance(loads, shares)
    assert sorted(chain(*made)) == list(range(len(loads)))
    assert len(made) == min(shares, len(loads))
    assert all(share == sorted(share) for share in made)
    totals = [sum(loads[item] for item in share) for share in made]
    # Whatever came to a share last came to the one with the least.
    for share, total in zip(made, totals, strict=True):
        assert total - min(loads[item] for item in share) <= min(totals)
