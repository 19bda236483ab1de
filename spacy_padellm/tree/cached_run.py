"""Runs with a KV cache, in which every node is run once."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .model_call import ALL, Half, KVCache, MaskForm, ModelCall, Readout
from .packing import pack
from .run import TreeRun
from .token_tree import TokenTree

# Short trees share a row of the batch. Later, the new nodes of a row are then more alike in number
# than those of a tree, so that less is padding. Wider rows cost more attention.
_NARROWEST_ROW = 128


class _Inputs(NamedTuple):
    """The new nodes of trees as inputs of a pass.

    Args:
        tokens: Token ids, shape `(batch, query)`.
        positions: Position ids, same shape.
        visible: Which slots each token attends to, shape `(batch, query, key)`.
        rows: The row of each new node, tree by tree.
        columns: The column of each new node.
        counts: Tree → number of its new nodes.
    """

    tokens: np.ndarray
    positions: np.ndarray
    visible: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    counts: dict[int, int]


class _Layout:
    """The KV cache of some layers, and the place of each tree's nodes in it.

    Args:
        mask_form: The custom mask that the model takes.
        layers: The layers; `None` for all.

    Attributes:
        cache: The cache.
        width: Number of slots in each row of the cache.
        slots: Tree → the slots of its nodes. Padding and other trees of the row make them differ
            from node numbers.
    """

    def __init__(self, mask_form: MaskForm | None, layers: slice | None = None) -> None:
        self.layers = layers
        self.cache = KVCache(mask_form, 0 if layers is None else layers.start)
        self.width = 0
        self.slots: dict[int, np.ndarray] = {}
        # The trees in each row of the batch.
        self._rows: list[list[int]] = []
        # Tree → the serial number of the last node that was run.
        self._last: dict[int, int] = {}

    def shrink(self, trees: Sequence[TokenTree], retired: AbstractSet[int]) -> None:
        """Drop retired trees and nodes that were cut off from the cache."""
        rows = [[tree for tree in row if tree not in retired] for row in self._rows]
        live = [number for number, row in enumerate(rows) if row]
        if len(live) < len(rows):
            # On the CPU, as the layers of one model may be on several devices.
            self.cache.select(torch.tensor(live, dtype=torch.long))
        self._rows = [rows[number] for number in live]
        width = 0
        for tree in (tree for row in self._rows for tree in row):
            kept = bisect_right(trees[tree].serials, self._last[tree])
            self.slots[tree] = self.slots[tree][:kept]
            if kept:
                width = max(width, int(self.slots[tree][-1]) + 1)
        if width < self.width:
            self.cache.cut(self.width - width)
            self.width = width

    def grow(
        self, trees: Sequence[TokenTree], retired: AbstractSet[int], *, bidirectional_prefix: bool
    ) -> _Inputs:
        """Give slots to the new nodes of the trees that are not retired.

        Args:
            trees: The trees.
            retired: The trees that are not run any more.
            bidirectional_prefix: Whether the prefix attends in both directions.
        """
        if not self._rows:
            live = [number for number in range(len(trees)) if number not in retired]
            packing = pack([len(trees[number]) for number in live], _NARROWEST_ROW)
            self._rows = [[] for _ in range(packing.shape[0])]
            for number, row in zip(live, packing.rows, strict=True):
                self._rows[row].append(number)
                self.slots[number] = np.zeros(0, dtype=np.int64)
        counts = {
            tree: len(trees[tree]) - len(self.slots[tree]) for row in self._rows for tree in row
        }
        length = max(sum(counts[tree] for tree in row) for row in self._rows)
        tokens = np.zeros((len(self._rows), length), dtype=np.int64)
        positions = np.zeros_like(tokens)
        visible = np.zeros((*tokens.shape, self.width + length), dtype=bool)
        # Padding attends to itself, as a softmax needs at least one key.
        visible[:, np.arange(length), self.width + np.arange(length)] = True
        places: dict[int, tuple[int, int]] = {}
        for row, members in enumerate(self._rows):
            begin = 0
            for number in members:
                tree, start = trees[number], len(self.slots[number])
                own = slice(begin, begin + counts[number])
                tokens[row, own] = tree.ids[start:]
                positions[row, own] = tree.depths[start:]
                added = self.width + np.arange(own.start, own.stop)
                slots = self.slots[number] = np.concatenate([self.slots[number], added])
                self._last[number] = tree.serials[-1] if tree.serials else -1
                seen = tree.visible(start, bidirectional_prefix=bidirectional_prefix)
                visible[row, own, slots] = seen.T
                places[number] = (row, begin)
                begin = own.stop
        self.width += length
        ordered = sorted(places)
        sizes = [counts[number] for number in ordered]
        rows = np.repeat([places[number][0] for number in ordered], sizes)
        columns = [places[number][1] + np.arange(counts[number]) for number in ordered]
        return _Inputs(
            tokens,
            positions,
            visible,
            rows,
            np.concatenate(columns),
            {number: counts[number] for number in ordered},
        )


class CachedRun(TreeRun):
    """A run with a KV cache: every node is run once, and stays in the cache until it is cut off.

    In halves, the layers up to the middle one run first. While all places are read at the middle
    layer, the layers above it do not run. They catch up when a place is read at the last layer, but
    only on trees that are not retired by then.

    Args:
        call: The model's forward pass.
        trees: The trees; they may change between calls.
        mask_form: The custom mask that the model takes.
        bidirectional_prefix: Whether the prefix attends in both directions.
        in_halves: Whether to run the layers in halves.
    """

    def __init__(
        self,
        call: ModelCall,
        trees: Sequence[TokenTree],
        *,
        mask_form: MaskForm | None,
        bidirectional_prefix: bool = False,
        in_halves: bool = False,
    ) -> None:
        super().__init__(
            call, trees, mask_form=mask_form, bidirectional_prefix=bidirectional_prefix
        )
        layers = call.halves if in_halves else (None,)
        self._layouts = [_Layout(mask_form, each) for each in layers]
        # Tree → the middle layer's output at the nodes that the layers above it have yet to run.
        self._waiting: dict[int, Tensor] = {}

    def logits(self, nodes: Sequence[Sequence[int]], readout: Readout = ALL) -> Tensor:
        """Run only the new nodes and return next-token logits at some of them.

        Raises:
            ValueError: Logits are wanted of a retired tree, or of a node run in an earlier pass; or
                the layers run in halves, and some places are read at the middle layer but not all.
        """
        if any(nodes[tree] for tree in self.retired):
            raise ValueError("a tree that was retired is asked for logits")
        for layout in self._layouts:
            layout.shrink(self.trees, self.retired)
        for tree in self.retired:
            self._waiting.pop(tree, None)
        first, *above = self._layouts
        if not above:
            return self._run(first, nodes, readout)
        at_middle = readout.middle is not None and bool(readout.middle.all())
        if readout.middle is not None and bool(readout.middle.any()) and not at_middle:
            raise ValueError("in halves, places are read at the middle layer or at the last one")
        plain = Readout(readout.ids)
        if at_middle:
            return self._run(first, nodes, plain)
        self._run(first, [()] * len(nodes), plain)
        return self._run(above[0], nodes, plain)

    def _run(self, layout: _Layout, nodes: Sequence[Sequence[int]], readout: Readout) -> Tensor:
        """Run the nodes that are new to some layers, and return logits at some of them."""
        width = layout.width
        new = layout.grow(self.trees, self.retired, bidirectional_prefix=self.bidirectional_prefix)
        asked = [np.zeros(0, dtype=np.int64)]
        begin = 0
        for tree, count in new.counts.items():
            of_tree = np.asarray(nodes[tree], dtype=np.int64) + count - len(self.trees[tree])
            if of_tree.size and of_tree.min() < 0:
                raise ValueError("logits of a node are given in the pass that runs it, not later")
            asked.append(begin + of_tree)
            begin += count
        places = np.concatenate(asked)
        half = None
        if layout.layers is not None:
            half = Half(layout.layers)
            if layout is not self._layouts[0]:
                half.hidden = self._take_waiting(new)
        if half is None or half.hidden is None:
            self.tokens += begin
        logits = self.run(
            new.tokens,
            new.positions,
            new.visible,
            (new.rows[places], new.columns[places]),
            readout,
            layout.cache,
            width,
            half,
        )
        if half is not None and half.hidden is None:
            self._let_wait(new, half)
        return logits

    def _let_wait(self, new: _Inputs, half: Half) -> None:
        """Keep the middle layer's output at the new nodes."""
        assert half.output is not None  # The layers have run.
        output = half.output[new.rows, new.columns].split(list(new.counts.values()))
        done = self._layouts[1].slots
        for (tree, count), added in zip(new.counts.items(), output, strict=True):
            if (before := self._waiting.get(tree)) is not None:
                # Without nodes that were cut off since.
                left = len(self.trees[tree]) - count - len(done.get(tree, ()))
                added = torch.cat([before[:left], added])
            self._waiting[tree] = added

    def _take_waiting(self, new: _Inputs) -> Tensor:
        """Arrange what the middle layer gave at nodes as input of the layers above it."""
        output = torch.cat([self._waiting.pop(tree) for tree in new.counts])
        hidden = output.new_zeros((*new.tokens.shape, output.shape[1]))
        hidden[new.rows, new.columns] = output
        return hidden
