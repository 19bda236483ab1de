"""The decoding loop: what is being written asks for choices, one pass answers all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

import torch
from torch import Tensor

from ..tree.base import TreeRun
from ..tree.model_call import ALL, Readout
from ..tree.softmax import Softmax, admissible_logits, pad_admissible
from ..tree.token_tree import TokenTree
from .cost import DecodingCost
from .guides import Guide

AnyGuide = TypeVar("AnyGuide", bound=Guide)

# The ids a choice is made among, `None` for the whole vocabulary.
Admissible = Sequence[int] | None
# Gives the logits at nodes of a run's trees, as `TreeRun.logits`.
Logits = Callable[[Sequence[Sequence[int]], Readout], Tensor]
# What is written whatever the model chooses: label → the ids of each mention, ends included.
Replay = Mapping[str, Sequence[Sequence[int]]]


class Choice(NamedTuple):
    """The most probable token at a node.

    token_id (int): The token.
    log_prob (float): Its log-probability.
    """

    token_id: int
    log_prob: float


class Writing(Protocol):
    """Something that is being written into a tree of its own.

    tree (TokenTree): The tree; it grows, and drafts that prove wrong may be cut off.
    """

    tree: TokenTree

    def ask(self) -> dict[int, Admissible]:
        """RETURNS (Dict[int, Admissible]): New nodes at which a choice is needed, or will be if
        a draft proves right. None if everything is written.
        """
        ...

    def take(self, choices: Mapping[int, Choice]) -> None:
        """choices (Mapping[int, Choice]): What was chosen at each of these nodes."""
        ...

    def ends(self) -> Iterable[int]:
        """RETURNS (Iterable[int]): The last node of every sequence in the tree that was kept."""
        ...


class Branch(Generic[AnyGuide]):
    """One sequence of a tree that is being written.

    node (int): The node it has come to.
    guide (AnyGuide): What it may write.
    replay (Optional[Sequence[int]]): What it writes, whatever the model chooses: it takes what a
        model takes that writes so.
    """

    def __init__(self, node: int, guide: AnyGuide, replay: Sequence[int] | None = None) -> None:
        self.node = node
        self.guide = guide
        self._replay = replay
        self._length = 0

    def follow(self, tree: TokenTree, choices: Mapping[int, Choice]) -> None:
        """Write as far as choices are known.

        tree (TokenTree): The tree, which grows where no draft is.
        choices (Mapping[int, Choice]): What was chosen at the nodes run so far.
        """
        while not self.guide.done and (choice := choices.get(self.node)) is not None:
            token_id = choice.token_id if self._replay is None else self._replay[self._length]
            written = self.guide.write(token_id, choice.log_prob)
            self._length += len(written)
            if not self.guide.done:
                self.node = tree.insert(written, self.node)[-1]


def write_all(
    run: TreeRun,
    writings: Sequence[Writing],
    softmax: Softmax,
    cost: DecodingCost,
    logits: Logits | None = None,
) -> None:
    """Run passes until everything is written.

    run (TreeRun): The run of the writings' trees.
    writings (Sequence[Writing]): What is being written.
    softmax (Softmax): What log-probabilities are taken over.
    cost (DecodingCost): What it took is added here.
    logits (Optional[Logits]): Gives the run's logits, if not the run itself.
    """
    while any(asked := [writing.ask() for writing in writings]):
        run.retire(place for place, nodes in enumerate(asked) if not nodes)
        choices = iter(_choose(logits or run.logits, asked, softmax))
        for writing, nodes in zip(writings, asked, strict=True):
            writing.take({node: next(choices) for node in nodes})
    cost.passes += run.passes
    cost.tokens += run.tokens
    if run.simulated_seconds is not None:
        cost.simulated_seconds = (cost.simulated_seconds or 0.0) + run.simulated_seconds
    for writing in writings:
        kept = {node for end in writing.ends() for node in writing.tree.path(end)}
        cost.distinct_tokens += len(kept)


def _choose(
    get_logits: Logits, asked: Sequence[Mapping[int, Admissible]], softmax: Softmax
) -> list[Choice]:
    nodes = [list(each) for each in asked]
    admissible = [ids for each in asked for ids in each.values()]
    limited = [ids for ids in admissible if ids is not None]
    if not limited:
        logits = get_logits(nodes, ALL).float()
        best, chosen = logits.max(dim=1)
        return _fetch(chosen, best - logits.logsumexp(dim=1))
    if len(limited) < len(admissible):
        raise ValueError("choices with and without a trie cannot share a pass")
    if softmax == "vocabulary":
        logits = get_logits(nodes, ALL).float()
        ids = columns = pad_admissible(limited, logits.device)
        allowed = admissible_logits(logits, columns)
        total = logits.logsumexp(dim=1)
    else:
        # No other logits are needed.
        needed = torch.tensor(sorted(set().union(*limited)))
        ids = pad_admissible(limited, needed.device)
        columns = torch.searchsorted(needed, ids.clamp_min(int(needed[0]))).masked_fill(ids < 0, -1)
        logits = get_logits(nodes, Readout(needed)).float()
        ids, columns = ids.to(logits.device), columns.to(logits.device)
        allowed = admissible_logits(logits, columns)
        total = allowed.logsumexp(dim=1)
    best, place = allowed.max(dim=1)
    return _fetch(ids.gather(1, place.unsqueeze(1)).squeeze(1), best - total)


def _fetch(chosen: Tensor, log_probs: Tensor) -> list[Choice]:
    # Together, as each transfer from a device waits for it. A double holds any id.
    pairs = torch.stack([chosen.double(), log_probs.double()], dim=1).tolist()
    return [Choice(int(token_id), log_prob) for token_id, log_prob in pairs]
