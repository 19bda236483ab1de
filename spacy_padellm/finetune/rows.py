"""Rows: training texts that are run together, up to a number of tokens."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from torch.utils.data import Dataset

from ..model import PaDeLLM
from ..texts import AnnotatedText
from ..train.gold import GoldReport, LeftOut, WindowedText
from ..train.objective import Objective
from ..train.supervised import SupervisedTree
from ..train.versions import TextVersions
from ..tree.packing import first_fit, pack

# Most rows to search for room. Searching all takes a time quadratic in the number of texts.
_OPEN_ROWS = 64


@dataclass(frozen=True)
class TaughtText:
    """A text, or a window of a text, that teaches something.

    Args:
        text: The text.
        left_out: Its gold mentions that cannot be taught.
        size: Number of tokens in its tree.
        sequence_tokens: Number of tokens if the tree's sequences ran separately.
    """

    text: AnnotatedText
    left_out: LeftOut
    size: int
    sequence_tokens: int


def prepare_texts(
    texts: Iterable[AnnotatedText], model: PaDeLLM, objective: Objective
) -> tuple[list[TaughtText], GoldReport]:
    """Prepare texts for training, and report the gold mentions that cannot be taught.

    Args:
        texts: Texts with their gold mentions.
        model: The model. Texts that are too long for it are cut into windows.
        objective: Measures their trees.

    Returns:
        The texts and windows that teach something, and a report on all texts.

    Raises:
        ValueError: A text is too long for the model.
    """
    taught: list[TaughtText] = []
    report = GoldReport(objective.labels, model.lm.check_depth)
    for text in texts:
        windowed = WindowedText.cut(text, model.cut(text.source))
        examined = [objective.examine(window) for _, window in windowed.windows]
        report.add(windowed, examined)
        for (_, window), found in zip(windowed.windows, examined, strict=True):
            if found.is_taught:
                # Encoded texts would fill the memory with their ids and tries.
                plain = replace(window, source=window.source.plain())
                taught.append(TaughtText(plain, found.left_out, found.size, found.sequence_tokens))
    return taught, report


def pack_rows(sizes: Sequence[int], max_tokens: int, seed: int) -> list[list[int]]:
    """Pack texts into rows. Each text goes, in random order, into the first row with room.

    Args:
        sizes: Number of tokens in each text's tree.
        max_tokens: Most tokens of a row. A larger tree has a row to itself.
        seed: Seed of the random order.

    Returns:
        For each row, the indices of its texts.
    """
    order = list(range(len(sizes)))
    random.Random(f"{seed}-rows").shuffle(order)
    return first_fit(sizes, order, max_tokens, _OPEN_ROWS)


class RowDataset(Dataset[list[SupervisedTree]]):
    """The rows of an epoch, shuffled anew for every epoch.

    Augmentation depends only on seed, epoch and text. So a resumed run sees the same trees as one
    without interruption, on any number of processes.

    Args:
        rows: For each row, the indices of its texts.
        texts: The texts.
        versions: Builds their trees. The mentions of the texts are collected here.
        max_tokens: Most tokens of a row. If an augmented text leaves too little room for the texts
            after it, the text itself takes its place.
        seed: Seed of order and augmentation.
        multiple: Number of rows in a step, for all processes together. Rows that teach nothing fill
            up the last step. Otherwise processes would repeat rows, and a resumed epoch would lose
            the step.

    Attributes:
        epoch: The current epoch, from 0.
    """

    def __init__(
        self,
        rows: Sequence[Sequence[int]],
        texts: Sequence[TaughtText],
        versions: TextVersions,
        max_tokens: int,
        seed: int,
        multiple: int = 1,
    ) -> None:
        self.rows = rows
        self.epoch = 0
        self._texts = texts
        self._versions = versions
        self._max_tokens = max_tokens
        self._seed = seed
        self._multiple = multiple
        # The order of the rows, and the epoch that it is for.
        self._order: list[int] = []
        self._order_of: int | None = None
        draw = random.Random(f"{seed}-pools")
        for each in texts:
            versions.collect(each.text, each.left_out, draw)

    def __len__(self) -> int:
        return -(-len(self.rows) // self._multiple) * self._multiple

    def __getitem__(self, place: int) -> list[SupervisedTree]:
        """Build the trees of a row, given its index in the order of the epoch."""
        if place >= len(self.rows):
            return [self._build_idle()]
        if self._order_of != self.epoch:
            self._order = list(range(len(self.rows)))
            random.Random(f"{self._seed}-{self.epoch}").shuffle(self._order)
            self._order_of = self.epoch
        row = self.rows[self._order[place]]
        room = self._max_tokens - sum(self._texts[text].size for text in row)
        version = self._versions.version(self.epoch)
        trees = []
        for number in row:
            text = self._texts[number]
            draw = random.Random(f"{self._seed}-{version}-{number}")
            tree = self._versions.build(text.text, version, draw, number)
            more = len(tree.tree) - text.size
            if more > max(0, room):
                tree, more = self._versions.build(text.text), 0
            room -= more
            trees.append(tree)
        return trees

    def _build_idle(self) -> SupervisedTree:
        """Build the tree of the smallest text, with all weights 0."""
        tree = self._versions.build(min(self._texts, key=lambda each: each.size).text)
        return replace(tree, weights=[0.0] * len(tree.weights))


def collate(rows: Sequence[list[SupervisedTree]]) -> dict[str, Any]:
    """Join the trees of several rows into one list, under the key `trees`."""
    return {"trees": [tree for row in rows for tree in row]}


class RowFigures(NamedTuple):
    """Statistics of rows: how many there are, and how full they are.

    Args:
        texts: Number of texts.
        rows: Number of rows.
        tokens: Number of tokens in all trees, which an epoch runs.
        sequence_tokens: Number of tokens if all sequences ran separately.
        fullness: The part of the rows' room that is used, 0 to 1.
        padding: The part of the tokens run that is padding, 0 to 1.
    """

    texts: int
    rows: int
    tokens: int
    sequence_tokens: int
    fullness: float
    padding: float

    def describe(self) -> str:
        """Describe the rows in two lines of text."""
        return (
            f"{self.texts} texts in {self.rows} rows, {self.fullness:.1%} full; "
            f"{self.padding:.1%} of what is run is padding\n"
            f"{self.tokens} tokens an epoch; as separate sequences {self.sequence_tokens} "
            f"({self.sequence_tokens / max(1, self.tokens):.2f} times)"
        )


def measure_rows(
    rows: Sequence[Sequence[int]], texts: Sequence[TaughtText], max_tokens: int, at_once: int
) -> RowFigures:
    """Measure how full rows are.

    Args:
        rows: For each row, the indices of its texts.
        texts: The texts.
        max_tokens: Most tokens of a row.
        at_once: Number of rows that are run together.
    """
    tokens = sum(text.size for text in texts)
    run = 0
    for first in range(0, len(rows), at_once):
        together = [texts[place].size for row in rows[first : first + at_once] for place in row]
        height, width = pack(together).shape
        run += height * width
    return RowFigures(
        texts=len(texts),
        rows=len(rows),
        tokens=tokens,
        sequence_tokens=sum(text.sequence_tokens for text in texts),
        fullness=tokens / (len(rows) * max_tokens),
        padding=1 - tokens / run,
    )
