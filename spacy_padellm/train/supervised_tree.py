"""Supervised trees: what is to be learnt where, and how probable a model finds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..tree.causal_lm import CausalLM
from ..tree.model_call import Readout
from ..tree.softmax import pad_admissible
from ..tree.token_tree import TokenTree


@dataclass
class SupervisedTree:
    """All training sequences of a text in one tree, and what is to be learnt at its nodes.

    A supervised token is a node to read logits at, the token that follows, and the number of
    sequences in which it does; after these come the text's tags, if any, which are read at the
    model's middle layer.

    tree (TokenTree): The tree; the last token of a sequence is a target only.
    nodes (List[int]): Node before each supervised token.
    targets (List[int]): The token's id.
    weights (List[float]): Sequences through it, or a text tag's weight.
    admissible (Optional[List[List[int]]]): Ids that may stand in its place, for the softmax over
        admissible continuations.
    tags (int): How many of them, the last ones, are tags.
    """

    tree: TokenTree
    nodes: list[int]
    targets: list[int]
    weights: list[float]
    admissible: list[list[int]] | None
    tags: int = 0

    @property
    def depth(self) -> int:
        """RETURNS (int): Length of the longest sequence, in tokens."""
        return max(self.tree.depths) + 1

    @property
    def sequence_tokens(self) -> int:
        """RETURNS (int): Tokens of its sequences, were each run on its own."""
        inner = set(self.tree.parents)
        depths = self.tree.depths
        return sum(depths[node] + 1 for node in range(len(self.tree)) if node not in inner)

    @property
    def bytes(self) -> int:
        """RETURNS (int): About the memory it takes: lists of numbers, and a mask once it is run."""
        numbers = sum(map(len, self.admissible or [])) + 3 * len(self.nodes)
        # A node has an id, parent, depth and dictionary entry.
        return 8 * numbers + 400 * len(self.tree) + len(self.tree) ** 2


def target_log_probs(lm: CausalLM, trees: Sequence[SupervisedTree]) -> Tensor:
    """The log-probability of every supervised token, in one pass.

    lm (CausalLM): The model.
    trees (Sequence[SupervisedTree]): The trees.
    RETURNS (Tensor): Tree by tree, shape `(n_supervised,)`, with gradients where enabled.
    """
    run = lm.open_for_training([t.tree for t in trees], max(t.depth for t in trees))
    # Several tokens may be supervised at one node.
    nodes = [list(dict.fromkeys(t.nodes)) for t in trees]
    middle = _tagged(nodes, trees).to(lm.model.device) if any(t.tags for t in trees) else None
    rows = _places(nodes, [t.nodes for t in trees])
    targets = torch.tensor([i for t in trees for i in t.targets], dtype=torch.long)
    admissible = [ids for t in trees for ids in t.admissible or []]
    device = lm.model.device
    if not admissible:
        logits = run.logits(nodes, Readout(None, middle)).float()
        return logits[rows, targets.to(device)] - logits.logsumexp(dim=1)[rows]
    needed = torch.tensor(sorted(set().union(*admissible)))
    logits = run.logits(nodes, Readout(needed.to(device), middle)).float()
    choices = pad_admissible(admissible, needed.device)
    columns = torch.searchsorted(needed, choices.clamp_min(int(needed[0]))).to(device)
    allowed = logits[rows.unsqueeze(1), columns].masked_fill((choices < 0).to(device), -torch.inf)
    picked = logits[rows, torch.searchsorted(needed, targets).to(device)]
    return picked - allowed.logsumexp(dim=1)


def _tagged(nodes: Sequence[Sequence[int]], trees: Sequence[SupervisedTree]) -> Tensor:
    """RETURNS (Tensor): For each node, tree by tree, whether it is one of the text, with tags."""
    tagged = [set(tree.nodes[len(tree.nodes) - tree.tags :]) for tree in trees]
    pairs = zip(nodes, tagged, strict=True)
    return torch.tensor([node in of_text for asked, of_text in pairs for node in asked])


def _places(nodes: Sequence[Sequence[int]], wanted: Sequence[Sequence[int]]) -> Tensor:
    """RETURNS (Tensor): For each wanted node, tree by tree, its place among all nodes."""
    places: list[int] = []
    first = 0
    for asked, of_tree in zip(nodes, wanted, strict=True):
        place_of = {node: first + place for place, node in enumerate(asked)}
        places.extend(place_of[node] for node in of_tree)
        first += len(asked)
    return torch.tensor(places, dtype=torch.long)
