"""Rows: texts that are run together, as many as fit into a number of tokens."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

from torch.utils.data import Dataset

from ..tree.packing import pack
from .preparation import TaughtText
from .supervised_tree import SupervisedTree
from .versions import Versions

# Rows that are still looked at for room: with all of them, packing takes the square of the texts.
_OPEN_ROWS = 64


def pack_rows(sizes: Sequence[int], max_tokens: int, seed: int) -> list[list[int]]:
    """First fit, of the texts in random order.

    sizes (Sequence[int]): Tokens of each text's tree.
    max_tokens (int): Most tokens of a row; a larger tree has a row to itself.
    seed (int): What the order depends on.
    RETURNS (List[List[int]]): The places of each row's texts.
    """
    order = list(range(len(sizes)))
    random.Random(f"{seed}-rows").shuffle(order)
    rows: list[list[int]] = []
    opened: list[tuple[list[int], int]] = []
    for place in order:
        size = sizes[place]
        fitting = (i for i, (_, room) in enumerate(opened) if size <= room)
        found = next(fitting, None)
        if found is None:
            rows.append([place])
            opened.append((rows[-1], max_tokens - size))
        else:
            row, room = opened[found]
            row.append(place)
            opened[found] = (row, room - size)
        if len(opened) > _OPEN_ROWS:
            opened.remove(min(opened, key=lambda each: each[1]))
    return rows


class RowDataset(Dataset):
    """The rows of an epoch, in an order of its own.

    rows (Sequence[Sequence[int]]): The places of each row's texts.
    versions (Versions): Makes their trees.
    max_tokens (int): Most tokens of a row.
    seed (int): What the order depends on.
    multiple (int): Rows of a step, on all processes. The last step is filled up with rows that
        teach nothing: processes repeat others otherwise, and an epoch that is resumed loses it.
    """

    def __init__(
        self,
        rows: Sequence[Sequence[int]],
        versions: Versions,
        max_tokens: int,
        seed: int,
        multiple: int = 1,
    ) -> None:
        self.rows = rows
        self._multiple = multiple
        self._versions = versions
        self._max_tokens = max_tokens
        self._seed = seed
        self.epoch = 0
        # The order, and of which epoch it is.
        self._order: list[int] = []
        self._order_of: int | None = None

    def __len__(self) -> int:
        return -(-len(self.rows) // self._multiple) * self._multiple

    def __getitem__(self, place: int) -> list[SupervisedTree]:
        """place (int): Place in the order of the epoch.
        RETURNS (List[SupervisedTree]): The row's trees.
        """
        if place >= len(self.rows):
            return [self._versions.build_idle()]
        if self._order_of != self.epoch:
            self._order = list(range(len(self.rows)))
            random.Random(f"{self._seed}-{self.epoch}").shuffle(self._order)
            self._order_of = self.epoch
        row = self.rows[self._order[place]]
        return self._versions.build(row, self.epoch, self._max_tokens)


def collate(rows: Sequence[list[SupervisedTree]]) -> dict[str, Any]:
    """rows (Sequence[List[SupervisedTree]]): Rows.
    RETURNS (Dict[str, Any]): The trees of all of them, as `trees`.
    """
    return {"trees": [tree for row in rows for tree in row]}


class RowFigures(NamedTuple):
    """How full rows are.

    texts (int): Texts.
    rows (int): Rows.
    tokens (int): Tokens of all trees: what an epoch runs.
    sequence_tokens (int): Tokens of the same texts' separate sequences.
    fullness (float): Share of the rows' tokens that is used.
    padding (float): Share of what is run that is padding.
    """

    texts: int
    rows: int
    tokens: int
    sequence_tokens: int
    fullness: float
    padding: float

    def describe(self) -> str:
        """RETURNS (str): A line or two to read."""
        return (
            f"{self.texts} texts in {self.rows} rows, {self.fullness:.1%} full; "
            f"{self.padding:.1%} of what is run is padding\n"
            f"{self.tokens} tokens an epoch; as separate sequences {self.sequence_tokens} "
            f"({self.sequence_tokens / max(1, self.tokens):.2f} times)"
        )


def measure_rows(
    rows: Sequence[Sequence[int]], texts: Sequence[TaughtText], max_tokens: int, at_once: int
) -> RowFigures:
    """rows (Sequence[Sequence[int]]): The places of each row's texts.
    texts (Sequence[TaughtText]): The texts.
    max_tokens (int): Most tokens of a row.
    at_once (int): Rows that are run together.
    RETURNS (RowFigures): How full they are.
    """
    tokens = sum(text.size for text in texts)
    run = 0
    for first in range(0, len(rows), at_once):
        together = [texts[place].size for row in rows[first : first + at_once] for place in row]
        height, width = pack(together).shape
        run += height * width
    return RowFigures(
        len(texts),
        len(rows),
        tokens,
        sum(text.sequence_tokens for text in texts),
        tokens / (len(rows) * max_tokens),
        1 - tokens / run,
    )
