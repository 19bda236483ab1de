"""Several trees in one row of a batch, so that less of it is padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

# A wider row is tried only while more of the batch than this is padding.
_PADDING = 0.1
# Widths that are tried, in parts of the longest tree. A wider row has more pairs to attend to.
_WIDTHS = (1.0, 1.25, 1.5, 1.75, 2.0)


class Packing(NamedTuple):
    """Where trees are in a batch.

    rows (List[int]): The row of each tree.
    offsets (List[int]): Where in its row it begins.
    shape (Tuple[int, int]): Rows of the batch, and their width.
    """

    rows: list[int]
    offsets: list[int]
    shape: tuple[int, int]


def pack(sizes: Sequence[int]) -> Packing:
    """sizes (Sequence[int]): The length of each tree, at least one.
    RETURNS (Packing): Their places, none over another.
    """
    found: list[Packing] = []
    for factor in _WIDTHS:
        found.append(_first_fit(sizes, int(max(sizes) * factor)))
        if _padding(found[-1], sizes) <= _PADDING:
            return found[-1]
    return min(found, key=lambda packing: _padding(packing, sizes))


def _first_fit(sizes: Sequence[int], width: int) -> Packing:
    """RETURNS (Packing): Longest first, each in the first row that has room for it."""
    rows, offsets = [0] * len(sizes), [0] * len(sizes)
    used: list[int] = []
    for tree in sorted(range(len(sizes)), key=lambda tree: -sizes[tree]):
        room = (row for row, taken in enumerate(used) if taken + sizes[tree] <= width)
        row = next(room, len(used))
        if row == len(used):
            used.append(0)
        rows[tree], offsets[tree] = row, used[row]
        used[row] += sizes[tree]
    return Packing(rows, offsets, (len(used), max(used)))


def _padding(packing: Packing, sizes: Sequence[int]) -> float:
    rows, width = packing.shape
    return 1 - sum(sizes) / max(1, rows * width)
