"""Supervised trees: the tokens to learn, their log-probabilities and the loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..tree.causal_lm import CausalLM
from ..tree.model_call import Readout
from ..tree.runs import Continuations
from ..tree.token_tree import TokenTree


@dataclass
class SupervisedTree:
    """All training sequences of a text in one tree, with the tokens to learn.

    The lists have an entry for each supervised token. Text tags come last. Their logits are read at
    the middle layer of the model.

    Args:
        tree: The tree. The last token of a sequence is only a target and has no node.
        nodes: The node whose logits predict each supervised token.
        targets: The id of each supervised token.
        weights: How many sequences contain each supervised token; for a text tag, its weight.
        admissible: The ids that each supervised token is chosen from, for the softmax over
            admissible continuations; `None` for the softmax over the vocabulary.
        tags: How many of the supervised tokens are text tags.
    """

    tree: TokenTree
    nodes: list[int]
    targets: list[int]
    weights: list[float]
    admissible: list[list[int]] | None
    tags: int = 0

    @property
    def depth(self) -> int:
        """Length of the longest sequence that is run, in tokens."""
        return max(self.tree.depths) + 1

    @property
    def sequence_tokens(self) -> int:
        """Total number of tokens to run if each sequence ran on its own."""
        inner = set(self.tree.parents)
        depths = self.tree.depths
        return sum(depths[node] + 1 for node in range(len(self.tree)) if node not in inner)

    @property
    def bytes(self) -> int:
        """Roughly the memory of the tree, in bytes: its lists, and its mask once it has run."""
        numbers = sum(map(len, self.admissible or [])) + 3 * len(self.nodes)
        # A node has an id, parent, depth and dictionary entry.
        return 8 * numbers + 400 * len(self.tree) + len(self.tree) ** 2


def target_log_probs(lm: CausalLM, trees: Sequence[SupervisedTree]) -> Tensor:
    """Compute the log-probability of every supervised token, in one pass.

    Args:
        lm: The model.
        trees: The trees, all with the same softmax.

    Returns:
        The log-probabilities, tree by tree, shape `(n_supervised,)`, with gradients if enabled.
    """
    run = lm.open([t.tree for t in trees], max(t.depth for t in trees), for_training=True)
    # One node may predict several supervised tokens.
    nodes = [list(dict.fromkeys(t.nodes)) for t in trees]
    rows: list[int] = []
    is_tagged: list[bool] = []
    for asked, tree in zip(nodes, trees, strict=True):
        place_of = {node: len(is_tagged) + place for place, node in enumerate(asked)}
        rows += [place_of[node] for node in tree.nodes]
        tagged = set(tree.nodes[len(tree.nodes) - tree.tags :])
        is_tagged += [node in tagged for node in asked]
    targets = torch.tensor([target for t in trees for target in t.targets], dtype=torch.long)
    over_vocabulary = trees[0].admissible is None
    # With the softmax over the vocabulary, only the target's log-probability is needed.
    admissible = [ids for t in trees for ids in t.admissible or [[each] for each in t.targets]]
    continuations = Continuations(admissible, over_vocabulary=over_vocabulary)
    middle = torch.tensor(is_tagged) if any(is_tagged) else None
    logits = run.logits(nodes, Readout(continuations.needed, middle))
    log_probs = continuations.log_probs(
        logits, torch.tensor(rows, dtype=torch.long, device=logits.device)
    )
    places = (continuations.ids == targets[:, None]).long().argmax(dim=1, keepdim=True)
    return log_probs.gather(1, places.to(log_probs.device))[:, 0]


def total_weight(trees: Sequence[SupervisedTree]) -> float:
    """Add up the weights of all supervised tokens in some trees."""
    return sum(sum(tree.weights) for tree in trees)


def weighted_loss(
    trees: Sequence[SupervisedTree], log_probs: Tensor, total: Tensor | float | None = None
) -> Tensor:
    """Compute the loss: the weighted mean of the negative log-probabilities.

    Without text tags it equals the loss of the paper's separate sequences (section 3.1).

    Args:
        trees: The trees.
        log_probs: Log-probabilities of their supervised tokens, shape `(n_supervised,)`.
        total: The weight to divide by: that of the whole training step, by default that of these
            trees.

    Returns:
        The loss, a scalar.
    """
    weights = torch.tensor([w for tree in trees for w in tree.weights]).to(log_probs)
    if total is None:
        # If nothing is taught, the loss is 0: dividing by 0 would make it NaN.
        total = weights.sum() if weights.any() else 1.0
    return -(weights * log_probs).sum() / total
