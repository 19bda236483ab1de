"""Supervised trees kept from one epoch to the next, and made anew where texts are augmented."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Sequence

from .augmentation import MentionSwap
from .objective import Objective, SupervisedTree
from .texts import AnnotatedText


class TreeCache:
    """Builds supervised trees and keeps those used last, for the next epoch.

    objective (Objective): Builds them.
    labels (Sequence[str]): The labels to teach.
    swap (Optional[MentionSwap]): Augments the texts.
    max_bytes (int): About how much memory the trees may take.
    """

    def __init__(
        self,
        objective: Objective,
        labels: Sequence[str],
        *,
        swap: MentionSwap | None = None,
        max_bytes: int = 2**30,
    ) -> None:
        self._objective = objective
        self._labels = tuple(labels)
        self._swap = swap
        self._room = max_bytes
        self._trees: OrderedDict[AnnotatedText, SupervisedTree] = OrderedDict()
        self._uses: Counter[AnnotatedText] = Counter()

    def __len__(self) -> int:
        return len(self._trees)

    def build(self, text: AnnotatedText) -> SupervisedTree:
        """text (AnnotatedText): A text with its gold mentions.
        RETURNS (SupervisedTree): Its tree, or that of an augmented version.
        """
        tree = self._trees.pop(text, None)
        if tree is not None:
            self._room += tree.bytes
        if tree is None:
            tree = self._build_first(text)
        elif self._swap is not None and self._uses[text] >= self._swap.uses:
            tree = self._objective.build(self._swap(text), self._labels)[0]
            self._uses[text] = 0
        self._trees[text] = tree
        self._uses[text] += 1
        self._room -= tree.bytes
        while self._room < 0:
            oldest, dropped = self._trees.popitem(last=False)
            self._room += dropped.bytes
            del self._uses[oldest]
        return tree

    def _build_first(self, text: AnnotatedText) -> SupervisedTree:
        tree, left_out = self._objective.build(text, self._labels)
        if self._swap is not None:
            missing = {mention for mentions in vars(left_out).values() for _, mention in mentions}
            taught = {m for m in text.mentions if m.label in self._labels} - missing
            self._swap.collect(text.source, sorted(taught))
        return tree
