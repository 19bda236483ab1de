from hypothesis import given
from hypothesis import strategies as st

from spacy_padellm.tree.packing import pack


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
