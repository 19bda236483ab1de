"""Runs of growing trees in three ways."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ..errors import Errors
from .model_call import ALL, KVCache, MaskForm, ModelCall, Readout
from .packing import pack
from .token_tree import ROOT, TokenTree

Way = Literal["cached", "recomputed", "sequences"]


@dataclass(frozen=True)
class TreeSupport:
    """How a model can run trees, as found by the load-time probe.

    Args:
        way: `"cached"`: every node once, with a KV cache. `"recomputed"`: whole trees in every
            pass, without a cache. `"sequences"`: separate padded sequences.
        mask_form: The custom attention mask that the model takes: `"4d"`, additive,
            `(batch, 1, query, key)`; `"3d"`, 0 and 1, `(batch, query, key)`; `None` if it takes
            none.
        max_depth: Length of the longest sequence for which the mask is right, in tokens: the
            attention window. Longer trees are run as separate sequences. `None` for any length.
    """

    way: Way
    mask_form: MaskForm | None
    max_depth: int | None = None


class TreeRun(ABC):
    """A batch of trees that is being run: the caller grows or cuts the trees and asks for logits.

    Args:
        call: The model's forward pass.
        trees: The trees; they may change between calls.
        mask_form: The custom mask that the model takes.
        bidirectional_prefix: Whether the prefix attends in both directions.

    Attributes:
        passes: Number of forward passes so far.
        tokens: Number of tokens run so far, without padding.
    """

    def __init__(
        self,
        call: ModelCall,
        trees: Sequence[TokenTree],
        *,
        mask_form: MaskForm | None,
        bidirectional_prefix: bool = False,
    ) -> None:
        self.passes = 0
        self.tokens = 0
        self.call = call
        self.trees = trees
        self.mask_form = mask_form
        self.bidirectional_prefix = bidirectional_prefix
        self.retired: set[int] = set()

    def retire(self, trees: Iterable[int]) -> None:
        """Mark trees, given by index, as finished, so that they cost no more padding."""
        self.retired.update(trees)

    @abstractmethod
    def logits(self, nodes: Sequence[Sequence[int]], readout: Readout = ALL) -> Tensor:
        """Run the trees as far as needed and return next-token logits at some of their new nodes.

        Args:
            nodes: For each tree, the nodes to return logits for. All must be new since the last
                call.
            readout: Which logits to return.

        Returns:
            Logits, tree by tree, shape `(n, vocabulary)` or `(n, n_ids)`.
        """

    def run(
        self,
        tokens: np.ndarray,
        positions: np.ndarray,
        visible: np.ndarray,
        places: tuple[np.ndarray, np.ndarray],
        readout: Readout,
        cache: KVCache | None = None,
        width: int = 0,
    ) -> Tensor:
        """Run the model once, and count the pass.

        Args:
            tokens: Token ids, shape `(batch, query)`.
            positions: Position ids, same shape.
            visible: Booleans, shape `(batch, query, key)`; `(batch, key)` if only padding is
                masked.
            places: Rows and columns at which logits are wanted, each of shape `(n,)`.
            readout: Which logits to return.
            cache: The KV cache to extend; `None` for none.
            width: Number of slots in the cache before this pass.

        Returns:
            Logits, shape `(n, vocabulary)` or `(n, n_ids)`.
        """
        self.passes += 1
        inputs = self.call.make_inputs(
            tokens, positions, visible, self.mask_form, None if cache is None else width
        )
        rows, columns = (torch.from_numpy(place).to(self.call.device) for place in places)
        return self.call(rows, columns, readout, cache, **inputs)


class CachedRun(TreeRun):
    """A run with a KV cache: every node is run once, and stays in the cache until it is cut off."""

    def __init__(
        self,
        call: ModelCall,
        trees: Sequence[TokenTree],
        *,
        mask_form: MaskForm | None,
        bidirectional_prefix: bool = False,
    ) -> None:
        super().__init__(
            call, trees, mask_form=mask_form, bidirectional_prefix=bidirectional_prefix
        )
        self._cache = KVCache(mask_form)
        self._width = 0
        # For each tree, its nodes' slots in the cache. Padding makes them differ from node numbers.
        self._slots = [np.zeros(0, dtype=np.int64) for _ in trees]
        # For each tree, the serial number of the last node that was run.
        self._last = [-1 for _ in trees]
        # The index of the tree in each row of the batch.
        self._rows = list(range(len(trees)))

    def logits(self, nodes: Sequence[Sequence[int]], readout: Readout = ALL) -> Tensor:
        """Run only the new nodes and return next-token logits at some of them.

        Raises:
            ValueError: Logits are wanted of a retired tree, or of a node run in an earlier pass.
        """
        if any(nodes[tree] for tree in self.retired):
            raise ValueError("a tree that was retired is asked for logits")
        self._shrink()
        first = [len(self._slots[tree]) for tree in self._rows]
        new = [len(self.trees[t].ids) - start for t, start in zip(self._rows, first, strict=True)]
        length, width = max(new), self._width
        tokens = np.zeros((len(new), length), dtype=np.int64)
        positions = np.zeros_like(tokens)
        visible = np.zeros((len(new), length, width + length), dtype=bool)
        # Padding attends to itself, as a softmax needs at least one key.
        visible[:, np.arange(length), width + np.arange(length)] = True
        columns = [np.zeros(0, dtype=np.int64)]
        for row, (number, start, count) in enumerate(zip(self._rows, first, new, strict=True)):
            tree = self.trees[number]
            tokens[row, :count] = tree.ids[start:]
            positions[row, :count] = tree.depths[start:]
            slots = np.concatenate([self._slots[number], width + np.arange(count)])
            self._slots[number] = slots
            self._last[number] = tree.serials[-1] if tree.serials else -1
            visible[row, :count, slots] = tree.visible(
                start, bidirectional_prefix=self.bidirectional_prefix
            ).T
            columns.append(slots[np.asarray(nodes[number], dtype=np.int64)] - width)
        rows = np.repeat(np.arange(len(new)), [len(nodes[number]) for number in self._rows])
        column = np.concatenate(columns)
        if column.size and column.min() < 0:
            raise ValueError("logits of a node are given in the pass that runs it, not later")
        self._width += length
        self.tokens += sum(new)
        return self.run(tokens, positions, visible, (rows, column), readout, self._cache, width)

    def _shrink(self) -> None:
        """Drop retired trees and nodes that were cut off from the cache."""
        live = [row for row, tree in enumerate(self._rows) if tree not in self.retired]
        if len(live) < len(self._rows):
            # On the CPU, as the layers of one model may be on several devices.
            self._cache.select(torch.tensor(live))
            self._rows = [self._rows[row] for row in live]
        width = 0
        for number in self._rows:
            kept = bisect_right(self.trees[number].serials, self._last[number])
            self._slots[number] = self._slots[number][:kept]
            if kept:
                width = max(width, int(self._slots[number][-1]) + 1)
        if width < self._width:
            self._cache.cut(self._width - width)
            self._width = width


class RecomputedRun(TreeRun):
    """A run without a cache: every pass runs whole trees. Training uses it too."""

    def logits(self, nodes: Sequence[Sequence[int]], readout: Readout = ALL) -> Tensor:
        """Run all nodes of the trees that are not retired, and return logits at some of them."""
        live = [place for place in range(len(self.trees)) if place not in self.retired]
        trees = [self.trees[place] for place in live]
        places = [
            (tree, np.asarray(nodes[place], dtype=np.int64)) for tree, place in enumerate(live)
        ]
        numbers = np.concatenate([np.full(len(asked), tree) for tree, asked in places])
        return self.run_whole(trees, numbers, np.concatenate([a for _, a in places]), readout)

    def run_whole(
        self, trees: Sequence[TokenTree], numbers: np.ndarray, nodes: np.ndarray, readout: Readout
    ) -> Tensor:
        """Run all nodes of some trees in one pass, with several trees packed into each batch row.

        Args:
            trees: The trees.
            numbers: For each node asked for, the number of its tree, shape `(n,)`.
            nodes: The nodes to return logits for, same shape.
            readout: Which logits to return.
        """
        packing = pack([len(tree) for tree in trees])
        tokens = np.zeros(packing.shape, dtype=np.int64)
        positions = np.zeros_like(tokens)
        width = tokens.shape[1]
        visible = np.zeros((*tokens.shape, width), dtype=bool)
        # Padding attends to itself, as a softmax needs at least one key.
        visible[:, np.arange(width), np.arange(width)] = True
        for tree, row, start in zip(trees, packing.rows, packing.offsets, strict=True):
            own = slice(start, start + len(tree))
            tokens[row, own] = tree.ids
            positions[row, own] = tree.depths
            visible[row, own, own] = tree.visible(bidirectional_prefix=self.bidirectional_prefix)
        self.tokens += sum(len(tree) for tree in trees)
        rows = np.asarray(packing.rows)[numbers]
        columns = np.asarray(packing.offsets)[numbers] + nodes
        return self.run(tokens, positions, visible, (rows, columns), readout)


class SequencesRun(RecomputedRun):
    """A run of separate sequences, one for each branch, padded to the longest.

    Any model can do this. A custom mask is needed only for a bidirectional prefix.
    """

    def logits(self, nodes: Sequence[Sequence[int]], readout: Readout = ALL) -> Tensor:
        """Run each branch as a sequence and return next-token logits at some nodes."""
        chains: list[TokenTree] = []
        wanted: list[tuple[int, int]] = []
        for tree, asked in zip(self.trees, nodes, strict=True):
            row_of: dict[int, int] = {}
            # A node on the way to another one needs no sequence of its own.
            inner = {n for node in asked for n in tree.path(node)[:-1]}
            for leaf in dict.fromkeys(asked):
                if leaf not in inner:
                    for node in tree.path(leaf):
                        row_of.setdefault(node, len(chains))
                    chains.append(_chain(tree, leaf))
            wanted.extend((row_of[node], tree.depths[node]) for node in asked)
        if not chains:
            # No logits are asked for, but a model cannot run an empty batch.
            chains.append(_chain(self.trees[0], 0))
        rows, columns = np.array(wanted, dtype=np.int64).reshape(-1, 2).T
        if self.bidirectional_prefix:
            return self.run_whole(chains, rows, columns, readout)
        # The model's own causal mask and positions are right: padding comes last, and no token
        # attends to what follows it.
        length = max(len(chain) for chain in chains)
        tokens = np.zeros((len(chains), length), dtype=np.int64)
        real = np.zeros_like(tokens)
        for row, chain in enumerate(chains):
            tokens[row, : len(chain)] = chain.ids
            real[row, : len(chain)] = 1
        self.passes += 1
        self.tokens += sum(len(chain) for chain in chains)
        device = self.call.device
        return self.call(
            torch.from_numpy(rows).to(device),
            torch.from_numpy(columns).to(device),
            readout,
            input_ids=torch.from_numpy(tokens).to(device),
            attention_mask=torch.from_numpy(real).to(device),
        )


def _chain(tree: TokenTree, leaf: int) -> TokenTree:
    """Build a tree of the single sequence that ends at a node."""
    # A prefix node may attend to later ones, so the whole prefix is run.
    ids = tree.sequence(max(leaf, tree.prefix_end))
    chain = TokenTree(ids[: tree.prefix_length])
    # Without a prefix, the sequence begins at the root.
    chain.insert(ids[tree.prefix_length :], chain.prefix_end if tree.prefix_length else ROOT)
    return chain


_RUNS: Mapping[Way, type[TreeRun]] = {
    "cached": CachedRun,
    "recomputed": RecomputedRun,
    "sequences": SequencesRun,
}


def open_run(
    call: ModelCall,
    trees: Sequence[TokenTree],
    support: TreeSupport,
    *,
    bidirectional_prefix: bool = False,
) -> TreeRun:
    """Start a run of a batch of trees in the way that the model supports.

    Args:
        call: The model's forward pass.
        trees: The trees; they may change between passes.
        support: How the model can run trees.
        bidirectional_prefix: Whether the prefix attends in both directions.

    Raises:
        ValueError: The prefix is bidirectional, but the model takes no custom mask.
    """
    if bidirectional_prefix and support.mask_form is None:
        raise ValueError(Errors.P021.format(model=type(call.model).__name__))
    # Without a custom mask, only separate sequences give the right logits.
    way = "sequences" if support.mask_form is None else support.way
    return _RUNS[way](
        call,
        trees,
        mask_form=support.mask_form,
        bidirectional_prefix=bidirectional_prefix,
    )
