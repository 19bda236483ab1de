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

# The hash of a text, and its number among equal ones; `None` for the tree of the text itself.
_Key = tuple[int, int | None]


class TextVersions:
    """A builder of the trees of texts and their versions, with a cache of those used last.

    Version 0 of a text is the text itself. All others are augmented. The cache keeps what may be
    used again: the trees of the texts themselves, and the others if a version has several uses.

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
        self._kept: OrderedDict[_Key, tuple[int, SupervisedTree]] = OrderedDict()

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

        Each call counts as a use of the text. The first one collects its mentions. A text with
        labels of its own has no other versions, as it may have others when it comes again.
        """
        if self.objective.own_encoder(text) is not None:
            return self.objective.build(text)[0]
        key = hash(text)
        uses = self._uses[key]
        self._uses[key] += 1
        if uses == 0:
            self.collect(text)
        return self.build(text, self.version(uses))

    def build(
        self,
        text: AnnotatedText,
        version: int = 0,
        draw: random.Random | None = None,
        number: int = 0,
    ) -> SupervisedTree:
        """Build the tree of a version of a text, or return it from the cache.

        Args:
            text: The text with its gold mentions.
            version: The version; 0 for the text itself.
            draw: The source of randomness, by default the state of `random`.
            number: Tells equal texts apart, if each is to have versions of its own.
        """
        own = hash(text)
        if self.swap is None or version == 0:
            tree = self._recall((own, None), 0)
            if tree is None:
                tree, _ = self.objective.build(text)
            return self._keep((own, None), 0, tree)
        key = (own, number)
        tree = self._recall(key, version)
        if tree is None:
            augmented = self.swap(text, draw)
            # Often nothing is swapped, and the text's own tree may be there already.
            tree = None if hash(augmented) == own else self._try(augmented, text)
            if tree is None:
                tree = self.build(text)
        return self._keep(key, version, tree) if self.swap.uses > 1 else tree

    def _recall(self, key: _Key, version: int) -> SupervisedTree | None:
        """Take a tree out of the cache; `None` if there is only another version, or none."""
        kept_version, tree = self._kept.pop(key, (None, None))
        if tree is not None:
            self._room += tree.bytes
        return tree if kept_version == version else None

    def _keep(self, key: _Key, version: int, tree: SupervisedTree) -> SupervisedTree:
        """Put a tree into the cache, as the one used last, and return it."""
        self._kept[key] = (version, tree)
        self._room -= tree.bytes
        while self._room < 0:
            _, (_, oldest) = self._kept.popitem(last=False)
            self._room += oldest.bytes
        return tree

    def _try(self, augmented: AnnotatedText, text: AnnotatedText) -> SupervisedTree | None:
        """Build the tree of an augmented text; `None` if the text itself is to take its place."""
        tree, left_out = self.objective.build(augmented)
        # Joined texts may have more mentions than can be taught.
        own = self.objective.examine(text).left_out if left_out else left_out
        is_worse = len(left_out) > len(own)
        return tree if tree.teaches and not is_worse and self._fits(tree.depth) else None
