"""The decoding loop: all branches of all trees write one token a pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from torch import Tensor

from ..softmax import Softmax, admissible_logits, pad_admissible
from ..token_tree import TokenTree
from ..tree_run.runs import TreeRun
from .guides import Guide

AnyGuide = TypeVar("AnyGuide", bound=Guide)


@dataclass
class Branch(Generic[AnyGuide]):
    """One branch under way.

    row (int): Its tree's place in the batch.
    node (int): The tree node it continues.
    guide (AnyGuide): What it may write.
    """

    row: int
    node: int
    guide: AnyGuide


def write_branches(
    run: TreeRun, trees: Sequence[TokenTree], branches: Sequence[Branch], softmax: Softmax
) -> None:
    """Let every branch write, always the most probable admissible token, until all are done.

    run (TreeRun): The trees' run; nodes the branches start from are new to it.
    trees (Sequence[TokenTree]): The trees, which grow.
    branches (Sequence[Branch]): The branches.
    softmax (Softmax): What log-probabilities are taken over.
    """
    # Logits come tree by tree.
    live = sorted((b for b in branches if not b.guide.done), key=lambda b: b.row)
    while live:
        nodes: list[list[int]] = [[] for _ in trees]
        for branch in live:
            nodes[branch.row].append(branch.node)
        chosen, log_probs = _choose(
            run.logits(nodes), [branch.guide.admissible() for branch in live], softmax
        )
        for branch, token_id, log_prob in zip(live, chosen, log_probs, strict=True):
            written = branch.guide.write(token_id, log_prob)
            if not branch.guide.done:
                branch.node = trees[branch.row].insert(written, branch.node)[-1]
        live = [branch for branch in live if not branch.guide.done]


def _choose(
    logits: Tensor, admissible: Sequence[Sequence[int] | None], softmax: Softmax
) -> tuple[list[int], list[float]]:
    logits = logits.float()
    free = [ids is None for ids in admissible]
    if all(free):
        best, chosen = logits.max(dim=1)
        return chosen.tolist(), (best - logits.logsumexp(dim=1)).tolist()
    if any(free):
        raise ValueError("branches with and without a trie cannot share a pass")
    ids = pad_admissible([i for i in admissible if i is not None], logits.device)
    allowed = admissible_logits(logits, ids)
    best, place = allowed.max(dim=1)
    total = (logits if softmax == "vocabulary" else allowed).logsumexp(dim=1)
    chosen = ids.gather(1, place.unsqueeze(1)).squeeze(1)
    return chosen.tolist(), (best - total).tolist()
