"""Separate sequences with a KV cache, as the paper runs them, for comparison with trees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..errors import Errors
from ..tree.causal_lm import CausalLM
from ..tree.kv_cache import KVCache
from ..tree.readout import ALL, Readout
from ..tree.run import TreeRun
from ..tree.token_tree import TokenTree
from .meters import Clock

# "batch": separate left-padded sequences. "batch_shared": the same, but each text's prefix is run
# only once. "one_by_one": one sequence after another, of which the slowest gives the time.
PaddedWay = Literal["batch", "batch_shared", "one_by_one"]


class PaddedLM(CausalLM):
    """A model that runs trees as the paper runs its separate sequences.

    Args:
        lm: The model.
        way: How the sequences are run.
    """

    def __init__(self, lm: CausalLM, way: PaddedWay) -> None:
        super().__init__(
            lm.model,
            lm.tokenizer,
            bidirectional_prefix=lm.bidirectional_prefix,
            support=lm.support,
        )
        self.call = lm.call
        self.way = way

    def open(
        self,
        trees: Sequence[TokenTree],
        depth: int,
        *,
        for_training: bool = False,
        in_halves: bool = False,
    ) -> TreeRun:
        """Start a run of a batch of trees, which may grow only below their prefixes.

        All layers run in every pass, in whole.
        """
        self.check_depth(depth)
        mask_form, way = self.support.mask_form, self.way
        if self.support.max_depth is not None and depth > self.support.max_depth:
            # Beyond the attention window, only the model's own mask is right. Padding after a
            # shared prefix would take up part of the window.
            mask_form, way = None, "batch" if way == "batch_shared" else way
        options: dict[str, Any] = {
            "mask_form": mask_form,
            "bidirectional_prefix": self.bidirectional_prefix,
        }
        if way == "one_by_one":
            return OneByOneRun(self.call, trees, **options)
        return PaddedRun(self.call, trees, share_prefix=way == "batch_shared", **options)


@dataclass(eq=False)
class _Row:
    """A row of the batch, with one sequence.

    Args:
        tree: Index of its tree.
        node: The node that it has reached.
        length: Number of its tokens that were run.
    """

    tree: int
    node: int
    length: int


class PaddedRun(TreeRun):
    """A run in which each branch below the prefix is a row of a left-padded batch.

    This is the paper's PaDeLLM Batch. Rows keep their keys and values while they grow by a token a
    pass, and leave the batch when they stop. If a branch continues no row, all branches become the
    prompts of a new batch.

    Args:
        share_prefix: Whether a tree's prefix is run only once, for all its rows in all batches.

    Raises:
        ValueError: The prefix is bidirectional, but the model takes no custom mask.
    """

    def __init__(self, *args: Any, share_prefix: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.bidirectional_prefix and self.mask_form is None:
            raise ValueError(Errors.P021.format(model=type(self.call.model).__name__))
        self._share_prefix = share_prefix and all(tree.prefix_length for tree in self.trees)
        self._prefix: tuple[KVCache, np.ndarray] | None = None
        self._rows: list[_Row] = []
        self._cache = KVCache(self.mask_form)
        # Which slots in the cache are not padding, shape `(rows, width)`.
        self._real = np.zeros((0, 0), dtype=bool)

    def logits(self, nodes: Sequence[Sequence[int]], readout: Readout = ALL) -> Tensor:
        """Run the new tokens of all rows, or a new batch, and return next-token logits.

        Raises:
            ValueError: A tree was cut off, or logits inside a prefix are wanted.
        """
        if any(len(tree) and tree.serials[-1] >= len(tree) for tree in self.trees):
            raise ValueError(
                "a tree that was cut off is not run as separate sequences with a cache"
            )
        asked = [(tree, node) for tree, of_tree in enumerate(nodes) for node in of_tree]
        leaves = list(dict.fromkeys(asked))
        if any(node < self.trees[tree].prefix_length for tree, node in leaves):
            raise ValueError("logits inside a prefix are not given here")
        if not self._continue(leaves):
            self._begin(leaves)
        place = {(row.tree, row.node): number for number, row in enumerate(self._rows)}
        blocks = [self.trees[row.tree].sequence(row.node)[row.length :] for row in self._rows]
        return self._extend(blocks, [place[leaf] for leaf in asked], readout)

    def _continue(self, leaves: Sequence[tuple[int, int]]) -> bool:
        """Move rows on to the leaves that continue them by one token.

        Returns:
            Whether every leaf continues a row. If not, the rows stay as they are.
        """
        rows = {(row.tree, row.node): row for row in self._rows}
        # Of two leaves below a node, only one can continue its row.
        found = [rows.pop((t, self.trees[t].parents[node]), None) for t, node in leaves]
        continued = [row for row in found if row is not None]
        if len(continued) < len(found):
            return False
        for row, (_, node) in zip(continued, leaves, strict=True):
            row.node = node
        if rows:
            live = [place for place, row in enumerate(self._rows) if row in continued]
            self._cache.select(torch.tensor(live, device=self.call.device))
            self._rows = [self._rows[place] for place in live]
            self._real = self._real[live]
        return True

    def _begin(self, leaves: Sequence[tuple[int, int]]) -> None:
        """Start a new batch with a row for each leaf. Only a shared prefix is run here."""
        if self._share_prefix and self._prefix is None:
            ends = [(tree, each.prefix_end) for tree, each in enumerate(self.trees)]
            self._start_rows(ends, KVCache(self.mask_form), np.zeros((len(ends), 0), dtype=bool))
            self._extend([tree.ids[: tree.prefix_length] for tree in self.trees], [], ALL)
            self._prefix = (self._cache, self._real)
        if self._prefix is None:
            empty = np.zeros((len(leaves), 0), dtype=bool)
            self._start_rows(leaves, KVCache(self.mask_form), empty)
            return
        trees = [tree for tree, _ in leaves]
        cache = self._prefix[0].copy()
        cache.select(torch.tensor(trees, device=self.call.device))
        self._start_rows(leaves, cache, self._prefix[1][trees])
        for row in self._rows:
            row.length = self.trees[row.tree].prefix_length

    def _start_rows(
        self, leaves: Sequence[tuple[int, int]], cache: KVCache, real: np.ndarray
    ) -> None:
        self._rows = [_Row(tree, node, 0) for tree, node in leaves]
        self._cache, self._real = cache, real

    def _extend(
        self, blocks: Sequence[list[int]], wanted: Sequence[int], readout: Readout
    ) -> Tensor:
        """Run the newest tokens of each row, and return logits.

        Args:
            blocks: The new tokens of each row.
            wanted: The rows at whose last token logits are wanted.
            readout: Which logits to return.
        """
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
        visible = self._real if self.mask_form is None else self._visible(positions, width)
        self.tokens += int(real.sum())
        rows = np.asarray(wanted, dtype=np.int64)
        places = (rows, np.full_like(rows, length - 1))
        return self.run(tokens, positions, visible, places, readout, self._cache, width)

    def _visible(self, positions: np.ndarray, width: int) -> np.ndarray:
        """Return which new slots attend to which slots, shape `(rows, new, all)`."""
        length = positions.shape[1]
        places = width + np.arange(length)
        visible = self._real[:, None, :] & (np.arange(width + length) <= places[:, None])[None]
        if self.bidirectional_prefix and width == 0:
            ends = np.array([self.trees[row.tree].prefix_length for row in self._rows])
            inside = self._real & (positions < ends[:, None])
            visible |= inside[:, :, None] & inside[:, None, :]
        # Padding attends to itself, as a softmax over nothing would be NaN.
        visible[:, np.arange(length), places] = True
        return visible


@dataclass
class _Sequence:
    """A sequence that is run alone.

    Args:
        run: Its run.
        seconds: The time that it took so far.
    """

    run: PaddedRun
    seconds: float = 0.0


class OneByOneRun(TreeRun):
    """A run of each branch alone, timed as if each had a device of its own.

    This is the paper's PaDeLLM Multi, with a KV cache. A step takes as long as its slowest branch.

    Attributes:
        passes: Number of forward passes so far, of the slowest branch in each step.
        simulated_seconds: Time so far, of the slowest branch in each step.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.simulated_seconds = 0.0
        self._clock = Clock(self.call.device)
        self._sequences: dict[tuple[int, int], _Sequence] = {}
        # The totals of the steps before this one.
        self._seconds, self._passes = 0.0, 0

    def logits(self, nodes: Sequence[Sequence[int]], readout: Readout = ALL) -> Tensor:
        """Run the new tokens of each branch, or all branches anew, and return next-token logits."""
        asked = [(tree, node) for tree, of_tree in enumerate(nodes) for node in of_tree]
        leaves = list(dict.fromkeys(asked))
        continued = [self._sequences.pop((t, self.trees[t].parents[n]), None) for t, n in leaves]
        sequences = [sequence for sequence in continued if sequence is not None]
        if len(sequences) < len(leaves):
            self._seconds, self._passes = self.simulated_seconds, self.passes
            sequences = [self._open(self.trees[tree]) for tree, _ in leaves]
            self._sequences = {}
        found = {
            leaf: self._run_alone(sequence, leaf, readout)
            for leaf, sequence in zip(leaves, sequences, strict=True)
        }
        return torch.cat([found[leaf] for leaf in asked])

    def _open(self, tree: TokenTree) -> _Sequence:
        run = PaddedRun(
            self.call,
            [tree],
            mask_form=self.mask_form,
            bidirectional_prefix=self.bidirectional_prefix,
        )
        return _Sequence(run)

    def _run_alone(self, sequence: _Sequence, leaf: tuple[int, int], readout: Readout) -> Tensor:
        tokens = sequence.run.tokens
        start = self._clock.now()
        logits = sequence.run.logits([[leaf[1]]], readout)
        sequence.seconds += self._clock.now() - start
        self.tokens += sequence.run.tokens - tokens
        self.simulated_seconds = max(self.simulated_seconds, self._seconds + sequence.seconds)
        self.passes = max(self.passes, self._passes + sequence.run.passes)
        self._sequences[leaf] = sequence
        return logits
