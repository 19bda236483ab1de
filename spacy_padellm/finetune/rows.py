"""Training texts in rows: texts that are run together, as many as fit into a number of tokens."""

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

# Rows that are still looked at for room: with all of them, packing takes the square of the texts.
_OPEN_ROWS = 64


@dataclass(frozen=True)
class TaughtText:
    """A text, or a window of one, that teaches something.

    Args:
        text: The text.
        left_out: Its gold that is not taught.
        size: Tokens of its tree.
        sequence_tokens: Tokens of the tree's sequences, were they run one by one.
    """

    text: AnnotatedText
    left_out: LeftOut
    size: int
    sequence_tokens: int


def prepare_texts(
    texts: Iterable[AnnotatedText], model: PaDeLLM, objective: Objective
) -> tuple[list[TaughtText], GoldReport]:
    """Find what is taught of texts, and the gold that is not.

    Args:
        texts: Texts with their gold mentions.
        model: What is taught; texts that it cannot read at once are cut into windows.
        objective: What makes trees of them.

    Raises:
        ValueError: A text is too long for the model.
    """
    taught: list[TaughtText] = []
    report = GoldReport(objective.labels, model.lm.check_depth)
    for text in texts:
        windowed = WindowedText.cut(text, model.cut(text.source))
        examined = []
        for _, window in windowed.windows:
            built, left_out = objective.build(window)
            examined.append((left_out, built.depth, bool(built.nodes)))
            if built.nodes:
                # Kept without its ids and its trie, which would fill the memory.
                plain = replace(window, source=window.source.plain())
                size, sequence_tokens = len(built.tree), built.sequence_tokens
                taught.append(TaughtText(plain, left_out, size, sequence_tokens))
        report.add(windowed, examined)
    return taught, report


def pack_rows(sizes: Sequence[int], max_tokens: int, seed: int) -> list[list[int]]:
    """Put texts into rows: first fit, in random order.

    Args:
        sizes: Tokens of each text's tree.
        max_tokens: Most tokens of a row; a larger tree has a row to itself.
        seed: What the order depends on.

    Returns:
        The places of each row's texts.
    """
    order = list(range(len(sizes)))
    random.Random(f"{seed}-rows").shuffle(order)
    return first_fit(sizes, order, max_tokens, _OPEN_ROWS)


class RowDataset(Dataset[list[SupervisedTree]]):
    """The rows of an epoch, in an order of its own.

    Texts are augmented from seed, epoch and text alone: what a run that is resumed sees is what one
    that was not interrupted sees, on however many processes.

    Args:
        rows: The places of each row's texts.
        texts: The texts.
        versions: Makes their trees; the texts' mentions are collected here.
        max_tokens: Most tokens of a row. A version that would leave too few for the texts after it
            is used as it was.
        seed: What order and augmentation depend on.
        multiple: Rows of a step, on all processes. The last step is filled up with rows that teach
            nothing: processes repeat others otherwise, and an epoch that is resumed loses it.

    Attributes:
        epoch: The epoch, from 0.
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
        # The order, and of which epoch it is.
        self._order: list[int] = []
        self._order_of: int | None = None
        draw = random.Random(f"{seed}-pools")
        for each in texts:
            versions.collect(each.text, each.left_out, draw)

    def __len__(self) -> int:
        return -(-len(self.rows) // self._multiple) * self._multiple

    def __getitem__(self, place: int) -> list[SupervisedTree]:
        """Make the trees of a row, given its place in the order of the epoch."""
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
            tree = self._versions.build(text.text, version, draw)
            more = len(tree.tree) - text.size
            if more > max(0, room):
                tree, more = self._versions.build(text.text), 0
            room -= more
            trees.append(tree)
        return trees

    def _build_idle(self) -> SupervisedTree:
        """Build the tree of the smallest text, of which nothing counts."""
        tree = self._versions.build(min(self._texts, key=lambda each: each.size).text)
        return replace(tree, weights=[0.0] * len(tree.weights))


def collate(rows: Sequence[list[SupervisedTree]]) -> dict[str, Any]:
    """Put the trees of rows together, as `trees`."""
    return {"trees": [tree for row in rows for tree in row]}


class RowFigures(NamedTuple):
    """How full rows are.

    Args:
        texts: How many texts there are.
        rows: How many rows.
        tokens: Tokens of all trees: what an epoch runs.
        sequence_tokens: Tokens of the same texts' separate sequences.
        fullness: Share of the rows' tokens that is used.
        padding: Share of what is run that is padding.
    """

    texts: int
    rows: int
    tokens: int
    sequence_tokens: int
    fullness: float
    padding: float

    def describe(self) -> str:
        """Say it in a line or two."""
        return (
            f"{self.texts} texts in {self.rows} rows, {self.fullness:.1%} full; "
            f"{self.padding:.1%} of what is run is padding\n"
            f"{self.tokens} tokens an epoch; as separate sequences {self.sequence_tokens} "
            f"({self.sequence_tokens / max(1, self.tokens):.2f} times)"
        )


def measure_rows(
    rows: Sequence[Sequence[int]], texts: Sequence[TaughtText], max_tokens: int, at_once: int
) -> RowFigures:
    """Find out how full rows are.

    Args:
        rows: The places of each row's texts.
        texts: The texts.
        max_tokens: Most tokens of a row.
        at_once: Rows that are run together.
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
