from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_padellm.train.rows import RowDataset, collate, measure_rows, pack_rows
from tests.train.test_versions import TAUGHT, versions

SIZES = st.lists(st.integers(1, 60), min_size=1, max_size=300)


@given(SIZES, st.integers(1, 100), st.integers(0, 5))
def test_each_text_is_in_one_row_and_rows_are_within_bounds(sizes: list[int], most: int, seed: int):
    rows = pack_rows(sizes, most, seed)
    assert sorted(place for row in rows for place in row) == list(range(len(sizes)))
    for row in rows:
        assert len(row) == 1 or sum(sizes[place] for place in row) <= most
    assert pack_rows(sizes, most, seed) == rows


@given(st.lists(st.integers(1, 50), min_size=1, max_size=60))
def test_no_two_rows_would_fit_into_one(sizes: list[int]):
    rows = pack_rows(sizes, 100, 0)
    room = [100 - sum(sizes[place] for place in row) for row in rows]
    # First fit: what opened a row found no room before it.
    assert all(
        sizes[row[0]] > room[earlier] for later, row in enumerate(rows) for earlier in range(later)
    )


def test_the_seed_decides_which_texts_come_together():
    assert pack_rows([10] * 50, 100, 0) != pack_rows([10] * 50, 100, 1)


def test_figures_of_rows():
    rows = pack_rows([each.size for each in TAUGHT], 200, 0)
    figures = measure_rows(rows, TAUGHT, 200, at_once=2)
    total = sum(each.size for each in TAUGHT)
    assert (figures.texts, figures.rows, figures.tokens) == (len(TAUGHT), len(rows), total)
    assert figures.fullness == pytest.approx(total / (200 * len(rows)))
    assert figures.sequence_tokens == sum(each.sequence_tokens for each in TAUGHT) > total
    assert 0 <= figures.padding < 0.5
    assert f"{len(TAUGHT)} texts in {len(rows)} rows" in figures.describe()
    assert f"({figures.sequence_tokens / total:.2f} times)" in figures.describe()


def test_rows_of_an_epoch():
    rows = pack_rows([each.size for each in TAUGHT], 200, 0)
    dataset = RowDataset(rows, versions(rate=0.0), 200, seed=0)
    assert len(dataset) == len(rows)
    first = [[tree.tree.ids for tree in dataset[place]] for place in range(len(rows))]
    dataset.epoch = 1
    second = [[tree.tree.ids for tree in dataset[place]] for place in range(len(rows))]
    assert first != second and sorted(first) == sorted(second)
    dataset.epoch = 0
    assert [tree.tree.ids for tree in dataset[0]] == first[0]


def test_the_last_step_is_filled_up_with_what_teaches_nothing():
    rows = pack_rows([each.size for each in TAUGHT], 200, 0)
    dataset = RowDataset(rows, versions(rate=0.0), 200, seed=0, multiple=len(rows) + 3)
    assert len(dataset) == len(rows) + 3
    assert all(sum(tree.weights) > 0 for place in range(len(rows)) for tree in dataset[place])
    for place in range(len(rows), len(dataset)):
        (tree,) = dataset[place]
        assert tree.nodes and set(tree.weights) == {0.0}
    assert len(RowDataset(rows, versions(), 200, seed=0, multiple=1)) == len(rows)


def test_rows_are_joined():
    dataset = RowDataset([[0, 1], [2]], versions(), 200, seed=0)
    rows = [dataset[0], dataset[1]]
    assert collate(rows) == {"trees": [*rows[0], *rows[1]]}
