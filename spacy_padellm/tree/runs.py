"""The three ways to run a batch of growing trees."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .base import TreeRun, make_inputs
from .kv_cache import KVCache
from .model_call import ALL, ModelCall, Readout
from .packing import pack
from .support import MaskForm
from .token_tree import ROOT, TokenTree


class CachedRun(TreeRun):
    """Every node is run once; its keys and values stay in a KV cache until it is cut off."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._cache = KVCache(self._mask_form)
        self._width = 0
        # Padding makes a node's place in the cache differ from its number.
        self._slots = [np.zeros(0, dtype=np.int64) for _ in self._trees]
        # Of each tree the serial number of the last node that was run.
        self._last = [-1 for _ in self._trees]
        # The trees in the batch, row by row.
        self._rows = list(range(len(self._trees)))

    def logits(self, nodes: Sequence[Sequence[int]], readout: Readout = ALL) -> Tensor:
        if any(nodes[tree] for tree in self._retired):
            raise ValueError("a tree that was retired is asked for logits")
        self._leave_out_retired()
        self._leave_out_cut()
        first = [len(self._slots[tree]) for tree in self._rows]
        new = [len(self._trees[t]) - start for t, start in zip(self._rows, first, strict=True)]
        length = max(new)
        tokens = np.zeros((len(new), length), dtype=np.int64)
        positions = np.zeros_like(tokens)
        visible = np.zeros((len(new), length, self._width + length), dtype=bool)
        # Padding sees itself, or its softmax would be over nothing.
        visible[:, np.arange(length), self._width + np.arange(length)] = True
        for row, (number, start, count) in enumerate(zip(self._rows, first, new, strict=True)):
            tree = self._trees[number]
            tokens[row, :count] = tree.ids[start:]
            positions[row, :count] = tree.depths[start:]
            added = self._width + np.arange(count)
            self._slots[number] = np.concatenate([self._slots[number], added])
            self._last[number] = tree.serials[-1] if len(tree) else -1
            visible[row, :count, self._slots[number]] = tree.visible(
                start, bidirectional_prefix=self._bidirectional_prefix
            ).T
        rows, columns = _pick(
            [nodes[tree] for tree in self._rows],
            [self._slots[tree] - self._width for tree in self._rows],
            self._call,
        )
        inputs = make_inputs(self._call, tokens, positions, visible, self._mask_form)
        places = torch.arange(self._width, self._width + length, device=self._call.device)
        self._width += length
        self.passes += 1
        self.tokens += sum(new)
        return self._call(
            rows,
            columns,
            readout,
            self._cache,
            cache_position=places,
            **inputs,
        )

    def _leave_out_retired(self) -> None:
        live = [row for row, tree in enumerate(self._rows) if tree not in self._retired]
        if len(live) < len(self._rows):
            # On the CPU: the layers of a model that is spread are on several devices.
            self._cache.select(torch.tensor(live))
            self._rows = [self._rows[row] for row in live]

    def _leave_out_cut(self) -> None:
        for number in self._rows:
            kept = bisect_right(self._trees[number].serials, self._last[number])
            self._slots[number] = self._slots[number][:kept]
        slots = [self._slots[number] for number in self._rows]
        width = max((int(each[-1]) + 1 for each in slots if each.size), default=0)
        if width < self._width:
            self._cache.cut(self._width - width)
            self._width = width


class RecomputedRun(TreeRun):
    """The whole tree is run at each pass, without a cache: also the way to train."""

    def logits(self, nodes: Sequence[Sequence[int]], readout: Readout = ALL) -> Tensor:
        live = [place for place in range(len(self._trees)) if place not in self._retired]
        trees = [self._trees[place] for place in live]
        self.passes += 1
        self.tokens += sum(len(tree) for tree in trees)
        places = [
            (tree, np.asarray(nodes[place], dtype=np.int64)) for tree, place in enumerate(live)
        ]
        return _run_whole(
            self._call,
            trees,
            np.concatenate([np.full(len(asked), tree) for tree, asked in places]),
            np.concatenate([asked for _, asked in places]),
            readout,
            self._mask_form,
            self._bidirectional_prefix,
        )


class SequencesRun(TreeRun):
    """Each branch is a sequence of its own, padded to the longest: what any model can do. It takes
    a custom mask only where the prefix is bidirectional.
    """

    def logits(self, nodes: Sequence[Sequence[int]], readout: Readout = ALL) -> Tensor:
        chains: list[TokenTree] = []
        wanted: list[tuple[int, int]] = []
        for tree, asked in zip(self._trees, nodes, strict=True):
            row_of: dict[int, int] = {}
            for leaf in _last_of_each_branch(tree, asked):
                for node in tree.path(leaf):
                    row_of.setdefault(node, len(chains))
                chains.append(_chain(tree, leaf))
            wanted.extend((row_of[node], tree.depths[node]) for node in asked)
        if not chains:
            # Nothing is asked for, but a model has to be given something.
            chains.append(_chain(self._trees[0], 0))
        self.passes += 1
        self.tokens += sum(len(chain) for chain in chains)
        rows, columns = np.array(wanted, dtype=np.int64).reshape(-1, 2).T
        if self._bidirectional_prefix:
            return _run_whole(self._call, chains, rows, columns, readout, self._mask_form, True)
        return _run_padded(self._call, chains, rows, columns, readout)


def _run_whole(
    call: ModelCall,
    trees: Sequence[TokenTree],
    places: np.ndarray,
    nodes: np.ndarray,
    readout: Readout,
    mask_form: MaskForm | None,
    bidirectional_prefix: bool,
) -> Tensor:
    """RETURNS (Tensor): Logits at these nodes of the trees at these places, all nodes of all
    trees run at once.
    """
    packing = pack([len(tree) for tree in trees])
    tokens = np.zeros(packing.shape, dtype=np.int64)
    positions = np.zeros_like(tokens)
    width = tokens.shape[1]
    visible = np.zeros((*tokens.shape, width), dtype=bool)
    # Padding sees itself, or its softmax would be over nothing.
    visible[:, np.arange(width), np.arange(width)] = True
    for tree, row, start in zip(trees, packing.rows, packing.offsets, strict=True):
        own = slice(start, start + len(tree))
        tokens[row, own] = tree.ids
        positions[row, own] = tree.depths
        visible[row, own, own] = tree.visible(bidirectional_prefix=bidirectional_prefix)
    inputs: dict[str, Any] = make_inputs(call, tokens, positions, visible, mask_form)
    rows = np.asarray(packing.rows)[places]
    columns = np.asarray(packing.offsets)[places] + nodes
    return call(_to(call, rows), _to(call, columns), readout, **inputs)


def _run_padded(
    call: ModelCall,
    chains: Sequence[TokenTree],
    rows: np.ndarray,
    columns: np.ndarray,
    readout: Readout,
) -> Tensor:
    """RETURNS (Tensor): Logits at these places, under the model's own causal mask. Padding comes
    last, where causal attention never looks, and positions are the model's own.
    """
    length = max(len(chain) for chain in chains)
    tokens = np.zeros((len(chains), length), dtype=np.int64)
    real = np.zeros_like(tokens)
    for row, chain in enumerate(chains):
        tokens[row, : len(chain)] = chain.ids
        real[row, : len(chain)] = 1
    return call(
        _to(call, rows),
        _to(call, columns),
        readout,
        input_ids=torch.from_numpy(tokens).to(call.device),
        attention_mask=torch.from_numpy(real).to(call.device),
    )


def _last_of_each_branch(tree: TokenTree, nodes: Sequence[int]) -> list[int]:
    """RETURNS (List[int]): The nodes of `nodes` that are no other one's ancestor."""
    inner = {n for node in nodes for n in tree.path(node)[:-1]}
    return [node for node in dict.fromkeys(nodes) if node not in inner]


def _chain(tree: TokenTree, leaf: int) -> TokenTree:
    # A node of the prefix is run with all of it, as it may see what follows it there.
    ids = tree.sequence(max(leaf, tree.prefix_end))
    chain = TokenTree(ids[: tree.prefix_length])
    # Without its prefix a chain is an ordinary sequence from the root.
    chain.insert(ids[tree.prefix_length :], chain.prefix_end if tree.prefix_length else ROOT)
    return chain


def _pick(
    nodes: Sequence[Sequence[int]], columns: Sequence[np.ndarray], call: ModelCall
) -> tuple[Tensor, Tensor]:
    """RETURNS (Tuple[Tensor, Tensor]): Row and column of each node in the batch."""
    rows = np.repeat(np.arange(len(nodes)), [len(asked) for asked in nodes])
    picked = [columns[row][np.asarray(asked, dtype=np.int64)] for row, asked in enumerate(nodes)]
    column = np.concatenate(picked)
    if column.size and column.min() < 0:
        raise ValueError("logits of a node are given in the pass that runs it, not later")
    return _to(call, rows), _to(call, column)


def _to(call: ModelCall, places: np.ndarray) -> Tensor:
    return torch.from_numpy(places).to(call.device)
