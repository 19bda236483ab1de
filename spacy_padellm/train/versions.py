"""The supervised trees of training texts and of their augmented versions."""

from __future__ import annotations

import random
from collections import Counter, OrderedDict
from collections.abc import Callable

from ..texts import AnnotatedText
from .augmentation import MentionSwap
from .gold import LeftOut
from .objective import Objective
from .supervised import SupervisedTree


class TextVersions:
    """A builder of the trees of texts and their versions, with a cache of those used last.

    Version 0 of a text is the text itself. All others are augmented.

    Args:
        objective: Builds the trees.
        swap: Augments texts with the mentions that are collected here; `None` to augment none.
        fits: Whether the model can run a sequence of so many tokens. If an augmented text is too
            long, or more of its mentions cannot be taught, the text itself takes its place.
        max_bytes: Roughly the most memory that cached trees may take.
    """

    def __init__(
        self,
        objective: Objective,
        *,
        swap: MentionSwap | None = None,
        fits: Callable[[int], bool],
        max_bytes: int = 2**30,
    ) -> None:
        self.objective = objective
        self.swap = None if swap is None else swap.fresh()
        self._fits = fits
        self._uses: Counter[int] = Counter()
        self._room = max_bytes
        # By hash, because the texts themselves might take too much memory.
        self._kept: OrderedDict[int, tuple[int, SupervisedTree]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def version(self, uses: int) -> int:
        """Return the version to use for a text that has been used so many times."""
        return 0 if self.swap is None else uses // self.swap.uses

    def collect(
        self,
        text: AnnotatedText,
        left_out: LeftOut | None = None,
        draw: random.Random | None = None,
    ) -> None:
        """Collect the mentions of a text, to augment other texts with them.

        Args:
            text: The text.
            left_out: Its gold mentions that cannot be taught; `None` to find them here.
            draw: The source of randomness, by default the state of `random`.
        """
        if self.swap is not None:
            if left_out is None:
                left_out = self.objective.examine(text).left_out
            missing = {mention for _, mention in left_out}
            taught = {m for m in text.mentions if m.label in self.objective.labels} - missing
            self.swap.collect(text, sorted(taught), draw)

    def build_next(self, text: AnnotatedText) -> SupervisedTree:
        """Build the tree of the next version of a text.

        Each call counts as a use of the text. The first one collects its mentions.
        """
        key = hash(text)
        uses = self._uses[key]
        self._uses[key] += 1
        if uses == 0:
            self.collect(text)
        return self.build(text, self.version(uses))

    def build(
        self, text: AnnotatedText, version: int = 0, draw: random.Random | None = None
    ) -> SupervisedTree:
        """Build the tree of a version of a text, or return it from the cache.

        Args:
            text: The text with its gold mentions.
            version: The version; 0 for the text itself.
            draw: The source of randomness, by default the state of `random`.
        """
        key = hash(text)
        kept_version, tree = self._kept.pop(key, (None, None))
        if tree is not None:
            self._room += tree.bytes
        if tree is None or kept_version != version:
            tree = self._augment(text, draw) if version else None
            if tree is None:
                tree, _ = self.objective.build(text)
        self._kept[key] = (version, tree)
        self._room -= tree.bytes
        while self._room < 0:
            _, (_, oldest) = self._kept.popitem(last=False)
            self._room += oldest.bytes
        return tree

    def _augment(self, text: AnnotatedText, draw: random.Random | None) -> SupervisedTree | None:
        assert self.swap is not None  # Without it, the only version is 0.
        tree, left_out = self.objective.build(self.swap(text, draw))
        # Joined texts may have more mentions than can be taught.
        own = self.objective.examine(text).left_out if left_out else left_out
        is_worse = len(left_out) > len(own)
        return tree if tree.nodes and not is_worse and self._fits(tree.depth) else None
