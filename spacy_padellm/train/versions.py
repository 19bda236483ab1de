"""The trees of training texts by epoch, augmented from seed, epoch and text alone: what a run that
is resumed sees is what one that was not interrupted sees, on however many processes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from .augmentation import MentionSwap
from .objective import Objective
from .preparation import TaughtText
from .supervised_tree import SupervisedTree


class Versions:
    """Makes the trees of an epoch.

    texts (Sequence[TaughtText]): The training texts.
    objective (Objective): Builds trees.
    labels (Sequence[str]): The labels to teach.
    swap (Optional[MentionSwap]): Augments the texts, with mentions of all of them.
    fits (Callable[[int], bool]): Whether the model can run a tree of a depth.
    seed (int): What chance depends on.
    """

    def __init__(
        self,
        texts: Sequence[TaughtText],
        objective: Objective,
        labels: Sequence[str],
        *,
        swap: MentionSwap | None,
        fits: Callable[[int], bool],
        seed: int,
    ) -> None:
        self._texts = texts
        self._objective = objective
        self._labels = tuple(labels)
        self._swap = None if swap is None else swap.fresh()
        self._fits = fits
        self._seed = seed
        if self._swap is not None:
            draw = random.Random(f"{seed}-pools")
            for each in texts:
                taught = {m for m in each.text.mentions if m.label in self._labels}
                self._swap.collect(each.text, sorted(taught - set(each.left_out)), draw)

    @property
    def growth(self) -> float:
        """RETURNS (float): About how many times as long augmented texts are on average."""
        return 1.0 if self._swap is None else (1 + self._swap.join) / 2

    def build(self, texts: Sequence[int], epoch: int, max_tokens: int) -> list[SupervisedTree]:
        """texts (Sequence[int]): Places of texts.
        epoch (int): The epoch, from 0; in the first `uses` of them texts are as they are.
        max_tokens (int): Most tokens of the trees. A version that would leave too few for the texts
            after it is used as it was.
        RETURNS (List[SupervisedTree]): Their trees.
        """
        room = max_tokens - sum(self._texts[place].size for place in texts)
        trees = []
        for place in texts:
            tree = self._augmented(place, epoch)
            if tree is not None:
                more = len(tree.tree) - self._texts[place].size
                if more <= max(0, room):
                    room -= more
                    trees.append(tree)
                    continue
            trees.append(self._objective.build(self._texts[place].text, self._labels)[0])
        return trees

    def build_idle(self) -> SupervisedTree:
        """RETURNS (SupervisedTree): The tree of the smallest text, of which nothing counts."""
        smallest = min(self._texts, key=lambda each: each.size)
        tree, _ = self._objective.build(smallest.text, self._labels)
        return replace(tree, weights=[0.0] * len(tree.weights))

    def _augmented(self, place: int, epoch: int) -> SupervisedTree | None:
        """RETURNS (Optional[SupervisedTree]): The tree of another version of a text, `None` if it
        is to be used as it is, or if more is left out of the version than of the text.
        """
        if self._swap is None or epoch < self._swap.uses:
            return None
        version = epoch // self._swap.uses
        text = self._swap(self._texts[place].text, random.Random(f"{self._seed}-{version}-{place}"))
        tree, left_out = self._objective.build(text, self._labels)
        is_worse = len(left_out) > len(self._texts[place].left_out)
        return tree if tree.nodes and not is_worse and self._fits(tree.depth) else None
