"""Runs with a KV cache, in which every node is run once."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .kv_cache import KVCache, MaskForm
from .model_call import Half, ModelCall
from .packing import pack, work
from .readout import ALL, Readout
from .run import TreeRun
from .token_tree import TokenTree

# To move a slot of the cache to another row takes as long as attending to this many keys.
_MOVE = 20


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
        # Number of rows, and tree → its row.
        self._height = 0
        self._rows: dict[int, int] = {}
        # Tree → the serial number of the last node that was run.
        self._last: dict[int, int] = {}

    def shrink(self, trees: Sequence[TokenTree], retired: AbstractSet[int]) -> None:
        """Forget retired trees and nodes that were cut off."""
        for tree in self.slots.keys() & retired:
            del self.slots[tree]
        for tree, slots in self.slots.items():
            self.slots[tree] = slots[: bisect_right(trees[tree].serials, self._last[tree])]

    def grow(
        self, trees: Sequence[TokenTree], retired: AbstractSet[int], *, bidirectional_prefix: bool
    ) -> _Inputs:
        """Give slots to the new nodes of the trees that are not retired.

        Args:
            trees: The trees.
            retired: The trees that are not run any more.
            bidirectional_prefix: Whether the prefix attends in both directions.

        Raises:
            ValueError: All trees are retired.
        """
        live = [number for number in range(len(trees)) if number not in retired]
        if not live:
            raise ValueError("all trees were retired")
        for number in live:
            self.slots.setdefault(number, np.zeros(0, dtype=np.int64))
        counts = {number: len(trees[number]) - len(self.slots[number]) for number in live}
        length = self._arrange(counts)
        tokens = np.zeros((self._height, length), dtype=np.int64)
        positions = np.zeros_like(tokens)
        visible = np.zeros((*tokens.shape, self.width + length), dtype=bool)
        # Padding attends to itself, as a softmax needs at least one key.
        visible[:, np.arange(length), self.width + np.arange(length)] = True
        ends = [0] * self._height
        rows, columns = [], []
        for number in live:
            tree, start, row = trees[number], len(self.slots[number]), self._rows[number]
            own = slice(ends[row], ends[row] + counts[number])
            ends[row] = own.stop
            tokens[row, own] = tree.ids[start:]
            positions[row, own] = tree.depths[start:]
            places = np.arange(own.start, own.stop)
            slots = self.slots[number] = np.concatenate([self.slots[number], self.width + places])
            self._last[number] = tree.serials[-1] if tree.serials else -1
            seen = tree.visible(start, bidirectional_prefix=bidirectional_prefix)
            visible[row, own, slots] = seen.T
            rows.append(np.full(counts[number], row))
            columns.append(places)
        self.width += length
        return _Inputs(
            tokens, positions, visible, np.concatenate(rows), np.concatenate(columns), counts
        )

    def _arrange(self, counts: Mapping[int, int]) -> int:
        """Divide the trees among rows, so that the next pass takes little time.

        Args:
            counts: Tree → number of its new nodes.

        Returns:
            The number of slots to add to each row.
        """
        kept = {tree: len(self.slots[tree]) for tree in counts}
        width = max((int(self.slots[tree][-1]) + 1 for tree in counts if kept[tree]), default=0)
        packing = pack(list(counts.values()), list(kept.values()))
        moved_width = max(_sums(packing.rows, kept.values(), packing.shape[0]))
        height, length = packing.shape
        moved = work(height, length, moved_width) + _MOVE * height * moved_width
        if self._height and self._rows.keys() >= counts.keys():
            rows = [self._rows[tree] for tree in counts]
            added = max(_sums(rows, counts.values(), self._height))
            if work(self._height, added, width) <= moved:
                if width < self.width:
                    self.cache.cut(self.width - width)
                self.width = width
                return added
        self._move(dict(zip(counts, packing.rows, strict=True)), height, moved_width)
        return length

    def _move(self, rows: dict[int, int], height: int, width: int) -> None:
        """Move the trees to other rows.

        Args:
            rows: Tree → its row.
            height: Number of rows.
            width: Number of slots in each row.
        """
        # What padding is filled with does not matter, as nothing attends to it.
        row_of, slot_of = np.zeros((2, height, width), dtype=np.int64)
        ends = [0] * height
        for tree, row in rows.items():
            slots = self.slots[tree]
            own = slice(ends[row], ends[row] + len(slots))
            ends[row] = own.stop
            if len(slots):
                row_of[row, own] = self._rows[tree]
                slot_of[row, own] = slots
            self.slots[tree] = np.arange(own.start, own.stop)
        if self._height:
            self.cache.move(torch.from_numpy(row_of), torch.from_numpy(slot_of))
        self._rows, self._height, self.width = rows, height, width


def _sums(rows: Iterable[int], sizes: Iterable[int], height: int) -> list[int]:
    """Add up the sizes of the trees in each row."""
    totals = [0] * height
    for row, size in zip(rows, sizes, strict=True):
        totals[row] += size
    return totals


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
            call,
            trees,
            mask_form=mask_form,
            bidirectional_prefix=bidirectional_prefix,
            in_halves=in_halves,
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
        plain = replace(readout, middle=None)
        if at_middle:
            return self._run(first, nodes, plain)
        self._run(first, [()] * len(nodes), plain)
        return self._run(above[0], nodes, plain)

    def _run(self, layout: _Layout, nodes: Sequence[Sequence[int]], readout: Readout) -> Tensor:
        """Run the nodes that are new to some layers, and return logits at some of them."""
        new = layout.grow(self.trees, self.retired, bidirectional_prefix=self.bidirectional_prefix)
        # Less than before if nodes were cut off or trees moved.
        width = layout.width - new.tokens.shape[1]
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
