"""One sequence after the other, timed as if each had a device of its own."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..tree.base import TreeRun
from ..tree.model_call import ALL, Readout
from ..tree.token_tree import TokenTree
from .padded import PaddedRun


@dataclass
class _Sequence:
    """A sequence, alone.

    run (PaddedRun): Its run.
    seconds (float): Time it took.
    """

    run: PaddedRun
    seconds: float = 0.0


class OneByOneRun(TreeRun):
    """Each branch is run alone, with a KV cache; its step takes as long as the slowest of them
    (the paper's PaDeLLM Multi). Passes are those of the slowest, too.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.simulated_seconds: float = 0.0
        self._sequences: dict[tuple[int, int], _Sequence] = {}
        # Of the steps before this one.
        self._seconds, self._passes = 0.0, 0

    def logits(self, nodes: Sequence[Sequence[int]], readout: Readout = ALL) -> Tensor:
        asked = [(tree, node) for tree, of_tree in enumerate(nodes) for node in of_tree]
        continued = {leaf: self._continued(*leaf) for leaf in dict.fromkeys(asked)}
        if any(sequence is None for sequence in continued.values()):
            self._begin(list(continued))
            continued = {leaf: self._sequences[leaf] for leaf in continued}
        found = {
            leaf: self._run(sequence, leaf, readout)
            for leaf, sequence in continued.items()
            if sequence is not None
        }
        return torch.cat([found[leaf] for leaf in asked])

    def _continued(self, tree: int, node: int) -> _Sequence | None:
        return self._sequences.pop((tree, self._trees[tree].parents[node]), None)

    def _begin(self, leaves: Sequence[tuple[int, int]]) -> None:
        self._seconds, self._passes = self.simulated_seconds, self.passes
        self._sequences = {
            (tree, node): _Sequence(self._open(self._trees[tree])) for tree, node in leaves
        }

    def _open(self, tree: TokenTree) -> PaddedRun:
        return PaddedRun(
            self._call,
            [tree],
            mask_form=self._mask_form,
            bidirectional_prefix=self._bidirectional_prefix,
        )

    def _run(self, sequence: _Sequence, leaf: tuple[int, int], readout: Readout) -> Tensor:
        tokens = sequence.run.tokens
        start = self._now()
        logits = sequence.run.logits([[leaf[1]]], readout)
        sequence.seconds += self._now() - start
        self.tokens += sequence.run.tokens - tokens
        self.simulated_seconds = max(self.simulated_seconds, self._seconds + sequence.seconds)
        self.passes = max(self.passes, self._passes + sequence.run.passes)
        self._sequences[leaf] = sequence
        return logits

    def _now(self) -> float:
        if self._call.device.type == "cuda":
            torch.cuda.synchronize(self._call.device)
        return time.perf_counter()
