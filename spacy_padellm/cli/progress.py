"""Progress bars."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

Item = TypeVar("Item")


def with_progress(items: Iterable[Item], total: int) -> Iterable[Item]:
    """items (Iterable[Item]): Items, one a text.
    total (int): How many there are.
    RETURNS (Iterable[Item]): The items, with a progress bar where the output is a terminal.
    """
    from tqdm import tqdm

    progress: Iterable[Item] = tqdm(items, total=total, unit="texts", leave=False, disable=None)
    return progress
