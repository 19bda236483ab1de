"""Supervised trees kept from one epoch to the next, and made anew where texts are augmented."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence

from ..texts import AnnotatedText
from .augmentation import MentionSwap
from .objective import Objective
from .supervised_tree import SupervisedTree


class TreeCache:
    """Builds supervised trees and keeps those used last, for the next epoch.

    objective (Objective): Builds them.
    labels (Sequence[str]): The labels to teach.
    swap (Optional[MentionSwap]): Augments the texts, with mentions of the texts seen here.
    fits (Optional[Callable[[int], bool]]): Whether the model can run a tree of a depth. An
        augmented text that is too long is used as it was.
    max_bytes (int): About how much memory the trees may take.
    """

    def __init__(
        self,
        objective: Objective,
        labels: Sequence[str],
        *,
        swap: MentionSwap | None = None,
        fits: Callable[[int], bool] | None = None,
        max_bytes: int = 2**30,
    ) -> None:
        self._objective = objective
        self._labels = tuple(labels)
        self._swap = None if swap is None else swap.fresh()
        self._fits = fits
        self._room = max_bytes
        self._trees: OrderedDict[AnnotatedText, SupervisedTree] = OrderedDict()
        # By hash, as texts themselves may be too many to keep.
        self._uses: Counter[int] = Counter()

    def __len__(self) -> int:
        return len(self._trees)

    def build(self, text: AnnotatedText) -> SupervisedTree:
        """text (AnnotatedText): A text with its gold mentions.
        RETURNS (SupervisedTree): Its tree, or that of an augmented version.
        """
        uses = self._uses[hash(text)]
        self._uses[hash(text)] += 1
        tree = self._trees.pop(text, None)
        if tree is not None:
            self._room += tree.bytes
        if tree is None or (self._swap is not None and uses % self._swap.uses == 0):
            tree = self._make(text, uses)
        self._trees[text] = tree
        self._room -= tree.bytes
        while self._room < 0:
            self._room += self._trees.popitem(last=False)[1].bytes
        return tree

    def _make(self, text: AnnotatedText, uses: int) -> SupervisedTree:
        if self._swap is not None and uses >= self._swap.uses:
            tree, left_out = self._objective.build(self._swap(text), self._labels)
            # Texts that are joined may have more mentions than can be taught.
            own = self._objective.examine(text, self._labels).left_out if left_out else left_out
            if len(left_out) <= len(own) and (self._fits is None or self._fits(tree.depth)):
                return tree
        tree, left_out = self._objective.build(text, self._labels)
        if self._swap is not None and uses == 0:
            missing = {mention for mentions in vars(left_out).values() for _, mention in mentions}
            taught = {m for m in text.mentions if m.label in self._labels} - missing
            self._swap.collect(text, sorted(taught))
        return tree
