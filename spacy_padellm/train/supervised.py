"""Supervised trees: what is to be learnt where, how probable a model finds it, and the loss."""

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
    """All training sequences of a text in one tree, and what is to be learnt at its nodes.

    A supervised token is a node to read logits at, the token that follows, and the number of
    sequences in which it does; after these come the text's tags, if any, which are read at the
    model's middle layer.

    Args:
        tree: The tree; the last token of a sequence is a target only.
        nodes: Node before each supervised token.
        targets: The token's id.
        weights: Sequences through it, or a text tag's weight.
        admissible: Ids that may stand in its place, for the softmax over admissible continuations.
        tags: How many of them, the last ones, are tags.
    """

    tree: TokenTree
    nodes: list[int]
    targets: list[int]
    weights: list[float]
    admissible: list[list[int]] | None
    tags: int = 0

    @property
    def depth(self) -> int:
        """Length of the longest sequence, in tokens."""
        return max(self.tree.depths) + 1

    @property
    def sequence_tokens(self) -> int:
        """Tokens of its sequences, were each run on its own."""
        inner = set(self.tree.parents)
        depths = self.tree.depths
        return sum(depths[node] + 1 for node in range(len(self.tree)) if node not in inner)

    @property
    def bytes(self) -> int:
        """About the memory it takes: lists of numbers, and a mask once it is run."""
        numbers = sum(map(len, self.admissible or [])) + 3 * len(self.nodes)
        # A node has an id, parent, depth and dictionary entry.
        return 8 * numbers + 400 * len(self.tree) + len(self.tree) ** 2


def target_log_probs(lm: CausalLM, trees: Sequence[SupervisedTree]) -> Tensor:
    """Find the log-probability of every supervised token, in one pass.

    Args:
        lm: The model.
        trees: The trees, all with the same softmax.

    Returns:
        Log-probabilities, tree by tree, shape `(n_supervised,)`, with gradients where enabled.
    """
    run = lm.open([t.tree for t in trees], max(t.depth for t in trees), for_training=True)
    # Several tokens may be supervised at one node.
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
    # Over the whole vocabulary no other log-probability is of interest.
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
    """Add up the weights of all that trees teach."""
    return sum(sum(tree.weights) for tree in trees)


def weighted_loss(
    trees: Sequence[SupervisedTree], log_probs: Tensor, total: Tensor | float | None = None
) -> Tensor:
    """Take the loss: the weighted mean of the negative log-probabilities of what is taught.

    Without tags it is that of the paper's separate sequences (section 3.1).

    Args:
        trees: The trees.
        log_probs: Log-probabilities of their supervised tokens, shape `(n_supervised,)`.
        total: The weight of all that is taught in this step, by default of these trees.

    Returns:
        A scalar.
    """
    weights = torch.tensor([w for tree in trees for w in tree.weights]).to(log_probs)
    if total is None:
        # Where nothing is taught, nothing is lost.
        total = weights.sum() if weights.any() else 1.0
    return -(weights * log_probs).sum() / total
