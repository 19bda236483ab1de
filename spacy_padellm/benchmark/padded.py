"""Separate sequences with a KV cache, as the paper runs them: what trees are measured against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import Errors
from ..tree.base import TreeRun, make_inputs
from ..tree.kv_cache import KVCache
from ..tree.model_call import ALL, Readout

_NONE = torch.zeros(0, dtype=torch.long)


@dataclass(eq=False)
class _Row:
    """A sequence of the batch.

    tree (int): Its tree's place among the trees.
    node (int): The node it has come to.
    length (int): Tokens run of it.
    """

    tree: int
    node: int
    length: int


class PaddedRun(TreeRun):
    """Each branch below the prefix is a row of a left-padded batch (the paper's PaDeLLM Batch).
    Rows keep their keys and values while they get longer by a token a pass, and leave the batch
    when they do not; any other branch is a new prompt and begins a new batch.

    share_prefix (bool): Whether a tree's prefix is run once, for all its rows in all batches.
    """

    def __init__(self, *args: Any, share_prefix: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        model = type(self._call.model).__name__
        if self._bidirectional_prefix and self._mask_form is None:
            raise ValueError(Errors.P021.format(model=model))
        self._share_prefix = share_prefix and all(tree.prefix_length for tree in self._trees)
        self._prefix: tuple[KVCache, np.ndarray] | None = None
        self._rows: list[_Row] = []
        self._cache = KVCache(self._mask_form)
        # Which places in the cache are no padding, shape `(rows, width)`.
        self._real = np.zeros((0, 0), dtype=bool)

    def logits(self, nodes: Sequence[Sequence[int]], readout: Readout = ALL) -> Tensor:
        if any(tree.is_regrown for tree in self._trees):
            raise ValueError(
                "a tree that was cut off is not run as separate sequences with a cache"
            )
        asked = [(tree, node) for tree, of_tree in enumerate(nodes) for node in of_tree]
        leaves = list(dict.fromkeys(asked))
        if any(node < self._trees[tree].prefix_length for tree, node in leaves):
            raise ValueError("logits inside a prefix are not given here")
        if not self._continue(leaves):
            self._begin(leaves)
        place = {(row.tree, row.node): number for number, row in enumerate(self._rows)}
        blocks = [self._trees[row.tree].sequence(row.node)[row.length :] for row in self._rows]
        wanted = torch.tensor([place[leaf] for leaf in asked], dtype=torch.long)
        return self._extend(blocks, wanted, readout)

    def _continue(self, leaves: Sequence[tuple[int, int]]) -> bool:
        """RETURNS (bool): Whether every leaf continues a row by a token; then it is that row's."""
        rows = {(row.tree, row.node): row for row in self._rows}
        # Two leaves below one node do not both fit into its row.
        found = [rows.pop((t, self._trees[t].parents[node]), None) for t, node in leaves]
        continued = [row for row in found if row is not None]
        if len(continued) < len(found):
            return False
        for row, (_, node) in zip(continued, leaves, strict=True):
            row.node = node
        if rows:
            live = [place for place, row in enumerate(self._rows) if row in continued]
            self._cache.select(torch.tensor(live, device=self._call.device))
            self._rows = [self._rows[place] for place in live]
            self._real = self._real[live]
        return True

    def _begin(self, leaves: Sequence[tuple[int, int]]) -> None:
        if self._share_prefix and self._prefix is None:
            ends = [(tree, each.prefix_end) for tree, each in enumerate(self._trees)]
            self._start_rows(ends, KVCache(self._mask_form), np.zeros((len(ends), 0), dtype=bool))
            self._extend([tree.ids[: tree.prefix_length] for tree in self._trees], _NONE, ALL)
            self._prefix = (self._cache, self._real)
        if self._prefix is None:
            empty = np.zeros((len(leaves), 0), dtype=bool)
            self._start_rows(leaves, KVCache(self._mask_form), empty)
            return
        trees = [tree for tree, _ in leaves]
        cache = self._prefix[0].copy()
        cache.select(torch.tensor(trees, device=self._call.device))
        self._start_rows(leaves, cache, self._prefix[1][trees])
        for row in self._rows:
            row.length = self._trees[row.tree].prefix_length

    def _start_rows(
        self, leaves: Sequence[tuple[int, int]], cache: KVCache, real: np.ndarray
    ) -> None:
        self._rows = [_Row(tree, node, 0) for tree, node in leaves]
        self._cache, self._real = cache, real

    def _extend(self, blocks: Sequence[list[int]], wanted: Tensor, readout: Readout) -> Tensor:
        """RETURNS (Tensor): Logits at the last tokens of the rows wanted."""
        width, length = self._real.shape[1], max(map(len, blocks))
        tokens = np.zeros((len(blocks), length), dtype=np.int64)
        positions = np.zeros_like(tokens)
        real = np.zeros((len(blocks), length), dtype=bool)
        for number, (row, block) in enumerate(zip(self._rows, blocks, strict=True)):
            if block:
                tokens[number, -len(block) :] = block
                positions[number, -len(block) :] = row.length + np.arange(len(block))
                real[number, -len(block) :] = True
                row.length += len(block)
        self._real = np.concatenate([self._real, real], axis=1)
        if self._mask_form is not None:
            visible = self._visible(positions, width)
            inputs = make_inputs(self._call, tokens, positions, visible, self._mask_form)
        else:
            inputs = make_inputs(self._call, tokens, positions, self._real, None)
        device = self._call.device
        self.passes += 1
        self.tokens += int(real.sum())
        return self._call(
            wanted.to(device),
            torch.full_like(wanted, length - 1).to(device),
            readout,
            self._cache,
            cache_position=torch.arange(width, width + length, device=device),
            **inputs,
        )

    def _visible(self, positions: np.ndarray, width: int) -> np.ndarray:
        """RETURNS (np.ndarray): Which new places see which, `(rows, new, all)`."""
        length = positions.shape[1]
        places = width + np.arange(length)
        visible = self._real[:, None, :] & (np.arange(width + length) <= places[:, None])[None]
        if self._bidirectional_prefix and width == 0:
            ends = np.array([self._trees[row.tree].prefix_length for row in self._rows])
            inside = self._real & (positions < ends[:, None])
            visible |= inside[:, :, None] & inside[:, None, :]
        # Padding sees itself, or its softmax would be over nothing.
        visible[:, np.arange(length), places] = True
        return visible
