"""Packing: decide which items run together, so that little of a batch is padding."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..errors import Errors

# Wider rows are tried while more than this share of the batch is padding.
_PADDING = 0.05
# Row widths to try, as multiples of the narrowest one. With 0, each tree has a row to itself.
_WIDTHS = (0.0, 1.0, 1.25, 1.5, 1.75, 2.0)
# To attend to this many keys takes as long as all else that a layer does for a token (measured with
# the bundled model). In wider layers, attention is a smaller part.
_KEYS = 1000
# Fewer open rows than trees, so that packing many trees takes little time.
_OPEN_ROWS = 32


class Packing(NamedTuple):
    """The place of each tree in a batch.

    Args:
        rows: The row of each tree.
        offsets: The column at which each tree begins.
        shape: Number of rows, and their width in tokens.
    """

    rows: list[int]
    offsets: list[int]
    shape: tuple[int, int]


def first_fit(
    sizes: Sequence[int], order: Iterable[int], capacity: int, open_rows: int | None = None
) -> list[list[int]]:
    """Put each item into the first row that has room for it.

    Args:
        sizes: Size of each item, in tokens.
        order: The items' numbers, in the order in which they are placed.
        capacity: Most tokens in a row. A larger item has a row to itself.
        open_rows: How many rows to keep open for more items: those with the most room. `None` keeps
            all open, and takes time quadratic in the number of items.

    Returns:
        The items' numbers in each row.
    """
    rows: list[list[int]] = []
    room: dict[int, int] = {}
    for item in order:
        row = next((row for row, left in room.items() if sizes[item] <= left), len(rows))
        if row == len(rows):
            rows.append([])
            room[row] = capacity
        rows[row].append(item)
        room[row] -= sizes[item]
        if open_rows is not None and len(room) > open_rows:
            del room[min(room, key=room.__getitem__)]
    return rows


def work(rows: int, length: int, kept: int = 0) -> int:
    """Estimate the time that a batch takes, in units of a key that a token attends to.

    Args:
        rows: Number of rows.
        length: Width of the rows, in tokens.
        kept: Number of slots of each row in the KV cache.
    """
    return rows * length * (_KEYS + kept + length)


def pack(sizes: Sequence[int], kept: Sequence[int] | None = None) -> Packing:
    """Pack trees side by side into the rows of a batch, so that it takes little time.

    Args:
        sizes: Number of tokens of each tree that are run; at least one tree.
        kept: Number of tokens of each tree in the KV cache; `None` without a cache.
    """
    longest_first = sorted(range(len(sizes)), key=lambda tree: -sizes[tree])
    # A tree of which nothing is run still takes slots, so it counts as one token here.
    needed = [max(size, 1) for size in sizes]
    best: list[list[int]] = []
    least, best_width = math.inf, 0
    for factor in _WIDTHS:
        rows = first_fit(needed, longest_first, int(max(needed) * factor), _OPEN_ROWS)
        width = max(sum(sizes[tree] for tree in row) for row in rows)
        slots = 0 if kept is None else max(sum(kept[tree] for tree in row) for row in rows)
        cost = work(len(rows), width, slots)
        if cost < least:
            best, least, best_width = rows, cost, width
        if sum(sizes) >= (1 - _PADDING) * len(rows) * width:
            break
    row_of, offsets = [0] * len(sizes), [0] * len(sizes)
    for number, row in enumerate(best):
        offset = 0
        for tree in row:
            row_of[tree], offsets[tree] = number, offset
            offset += sizes[tree]
    return Packing(row_of, offsets, (len(best), best_width))


def batch_by_padded(sizes: Sequence[int], budget: int) -> list[list[int]]:
    """Group items of similar sizes into batches of a limited number of tokens.

    Args:
        sizes: Size of each item, in tokens.
        budget: Most tokens in a batch, padding included. A larger item is a batch of its own.

    Returns:
        The items' numbers in each batch, from the smallest item to the largest.

    Raises:
        ValueError: The budget is below 1.
    """
    if budget < 1:
        raise ValueError(Errors.P032.format(name="batch_tokens", value=budget))
    batches: list[list[int]] = []
    for item in sorted(range(len(sizes)), key=sizes.__getitem__):
        # Items come sorted, so the new one is the largest.
        if batches and (len(batches[-1]) + 1) * sizes[item] <= budget:
            batches[-1].append(item)
        else:
            batches.append([item])
    return batches


def balance(sizes: Sequence[int], shares: int) -> list[list[int]]:
    """Divide items into shares of similar total size.

    The largest item that is left goes to the smallest share.

    Args:
        sizes: Size of each item.
        shares: Number of shares.

    Returns:
        The items' numbers in each share, in ascending order. Empty shares are left out.
    """
    made: list[list[int]] = [[] for _ in range(shares)]
    totals = [0] * shares
    for item in sorted(range(len(sizes)), key=lambda item: -sizes[item]):
        least = totals.index(min(totals))
        made[least].append(item)
        totals[least] += sizes[item]
    return [sorted(share) for share in made if share]
