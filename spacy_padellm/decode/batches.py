"""Texts of similar length are decoded together, as many as fit into a number of tokens."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import Errors


def make_batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """lengths (Sequence[int]): Length of each item, in tokens.
    budget (int): Most tokens of a batch, padding included. A longer item is a batch of its own.
    RETURNS (List[List[int]]): The items' numbers, shortest first.
    RAISES (ValueError): The budget is below 1.
    """
    if budget < 1:
        raise ValueError(Errors.P032.format(name="batch_tokens", value=budget))
    batches: list[list[int]] = []
    for item in sorted(range(len(lengths)), key=lambda i: lengths[i]):
        # Sorted, so the newest is the longest.
        if batches and (len(batches[-1]) + 1) * lengths[item] <= budget:
            batches[-1].append(item)
        else:
            batches.append([item])
    return batches
