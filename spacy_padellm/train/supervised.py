"""Supervised trees: the tokens to learn, their log-probabilities and the loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, compress

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from ..prompt.encoder import PromptEncoder
from ..tree.causal_lm import CausalLM
from ..tree.choices import Continuations
from ..tree.readout import FIRST_VECTOR, Readout
from ..tree.token_tree import TokenTree
from .tags import TaughtTags


@dataclass
class SupervisedTree:
    """All training sequences of a text in one tree, with the tokens to learn.

    The lists have an entry for each supervised token.

    Args:
        tree: The tree. The last token of a sequence is only a target and has no node.
        nodes: The node whose logits predict each supervised token.
        targets: The id of each supervised token.
        weights: How many sequences contain each supervised token.
        admissible: The ids that each supervised token is chosen from, for the softmax over
            admissible continuations; `None` for the softmax over the vocabulary.
        tags: The text tags; `None` if they are not taught.
    """

    tree: TokenTree
    nodes: list[int]
    targets: list[int]
    weights: list[float]
    admissible: list[list[int]] | None
    tags: TaughtTags | None = None

    @property
    def teaches(self) -> bool:
        """Whether there is anything to learn from it."""
        return bool(self.nodes or (self.tags is not None and self.tags.tags))

    @property
    def tagged_nodes(self) -> list[int]:
        """The node of each of the text's own tokens, if they are taught tags."""
        if self.tags is None:
            return []
        return list(range(self.tree.prefix_length - self.tags.length, self.tree.prefix_length))

    @property
    def depth(self) -> int:
        """Length of the longest sequence that is run, in tokens."""
        return max(self.tree.depths, default=-1) + 1

    @property
    def sequence_tokens(self) -> int:
        """Total number of tokens to run if each sequence ran on its own."""
        inner = set(self.tree.parents)
        depths = self.tree.depths
        return sum(depths[node] + 1 for node in range(len(self.tree)) if node not in inner)

    @property
    def bytes(self) -> int:
        """Roughly the memory of the tree, in bytes: its lists, and its mask once it has run."""
        n_tags = 0 if self.tags is None else len(self.tags.tags)
        numbers = sum(map(len, self.admissible or [])) + 3 * len(self.nodes) + 4 * n_tags
        # A node has an id, parent, depth and dictionary entry.
        return 8 * numbers + 400 * len(self.tree) + len(self.tree) ** 2


def target_log_probs(
    lm: CausalLM, trees: Sequence[SupervisedTree], encoder: PromptEncoder
) -> Tensor:
    """Compute the log-probability of everything that is taught, in one pass.

    The logits of text tags are read at the middle layer of the model, all others at the last.

    Args:
        lm: The model.
        trees: The trees, all with the same softmax.
        encoder: The encoder of their texts, which spells the tags.

    Returns:
        The log-probabilities of the supervised tokens of all trees, then of their tags, shape
        `(n,)`, with gradients if enabled.
    """
    run = lm.open([t.tree for t in trees], max(t.depth for t in trees), for_training=True)
    # One node may predict several supervised tokens.
    nodes = [list(dict.fromkeys([*t.tagged_nodes, *t.nodes])) for t in trees]
    rows: list[int] = []
    is_tagged: list[bool] = []
    for asked, tree in zip(nodes, trees, strict=True):
        place_of = {node: len(is_tagged) + place for place, node in enumerate(asked)}
        rows += [place_of[node] for node in tree.nodes]
        n_tagged = len(tree.tagged_nodes)
        is_tagged += [place < n_tagged for place in range(len(asked))]
    targets = torch.tensor([target for t in trees for target in t.targets], dtype=torch.long)
    over_vocabulary = trees[0].admissible is None
    # With the softmax over the vocabulary, only the target's log-probability is needed.
    admissible = [ids for t in trees for ids in t.admissible or [[each] for each in t.targets]]
    all_tags = [t.tags for t in trees if t.tags is not None] if any(is_tagged) else []
    table = _TagTable(lm, encoder, all_tags) if all_tags else None
    continuations = Continuations(
        admissible, over_vocabulary=over_vocabulary, also=table.needed if table else ()
    )
    tagged = torch.tensor(is_tagged, dtype=torch.bool)
    readout = Readout(continuations.needed)
    if table is not None:
        readout = Readout(continuations.needed, tagged, table.vectors)
    logits = run.logits(nodes, readout)
    log_probs = continuations.log_probs(
        logits, torch.tensor(rows, dtype=torch.long, device=logits.device)
    )
    places = (continuations.ids == targets[:, None]).long().argmax(dim=1, keepdim=True)
    found = [log_probs.gather(1, places.to(log_probs.device))[:, 0]]
    if table is not None:
        found.append(table.pick(logits[tagged.to(logits.device)], continuations.needed))
    return torch.cat(found)


class _TagTable:
    """The log-probabilities of the tags that some trees teach, whatever labels each is asked for.

    Args:
        lm: The model, which makes vectors of labels.
        encoder: The encoder that spells numbers.
        taught: The tags of each tree. Labels are alone in all of them, or in none.

    Attributes:
        vectors: The vectors of all labels; `None` if they have none.
        needed: The ids whose logits are needed, in two parts.
    """

    def __init__(self, lm: CausalLM, encoder: PromptEncoder, taught: Sequence[TaughtTags]) -> None:
        wordings = dict.fromkeys(ids for of_tree in taught for ids in of_tree.labels)
        column = {ids: place for place, ids in enumerate(wordings)}
        ends = accumulate(of_tree.length for of_tree in taught)
        # The tags of each tree, the rows of its tokens, and the columns of its labels and of none.
        self._trees = [
            (t, slice(end - t.length, end), [*(column[ids] for ids in t.labels), len(column)])
            for t, end in zip(taught, ends, strict=True)
        ]
        self._are_alone = taught[0].are_alone
        self.vectors: Tensor | None = None
        labels: list[Sequence[int]] = list(column)
        if self._are_alone:
            self.vectors = lm.encode_labels(list(column), for_training=True)
            labels = [[FIRST_VECTOR + place] for place in range(len(column))]
        self._labels, self._begins = encoder.label_choices(labels), encoder.begin_choices
        self.needed = (self._labels.needed, self._begins.needed)

    def pick(self, logits: Tensor, given: Tensor | None) -> Tensor:
        """Compute the log-probabilities of all tags.

        Args:
            logits: The logits at the tokens of all trees, shape `(n_tokens, n_given)`.
            given: The ids of the logits, as for `TagChoices`.

        Returns:
            The log-probability of each tag, tree by tree, shape `(n_tags,)`.
        """
        begins = self._begins.log_probs(logits, given)
        if self._are_alone:
            odds = self._labels.against_none(logits, given)
            parts = {"inside": logsigmoid(odds), "begins": begins, "outside": logsigmoid(-odds)}
        else:
            allowed = torch.zeros(len(logits), self._labels.count, dtype=torch.bool)
            for of_tree, rows, columns in self._trees:
                allowed[rows, list(compress(columns, of_tree.allowed))] = True
            parts = {"inside": self._labels.log_probs(logits, given, allowed), "begins": begins}
        # All side by side, so that one index picks any tag.
        table = torch.cat(list(parts.values()), dim=1)
        ends = accumulate(part.shape[1] for part in parts.values())
        starts = {k: end - parts[k].shape[1] for k, end in zip(parts, ends, strict=True)}
        picked = []
        for of_tree, rows, columns in self._trees:
            for tag in of_tree.tags:
                target = tag.target if tag.kind == "begins" else columns[tag.target]
                row = (rows.start + tag.place) * table.shape[1]
                picked.append(row + starts[tag.kind] + target)
        return table.flatten()[torch.tensor(picked, dtype=torch.long, device=table.device)]


def list_weights(trees: Sequence[SupervisedTree]) -> list[float]:
    """List the weights of all that trees teach, in the order of `target_log_probs`."""
    tokens = [weight for tree in trees for weight in tree.weights]
    return tokens + [w for tree in trees if tree.tags is not None for w in tree.tags.weights]


def weighted_loss(
    trees: Sequence[SupervisedTree], log_probs: Tensor, total: Tensor | float | None = None
) -> Tensor:
    """Compute the loss: the weighted mean of the negative log-probabilities.

    Without text tags it equals the loss of the paper's separate sequences (section 3.1).

    Args:
        trees: The trees.
        log_probs: What `target_log_probs` returns for them, shape `(n,)`.
        total: The weight to divide by: that of the whole training step, by default that of these
            trees.

    Returns:
        The loss, a scalar.
    """
    weights = torch.tensor(list_weights(trees)).to(log_probs)
    if total is None:
        # If nothing is taught, the loss is 0: dividing by 0 would make it NaN.
        total = weights.sum() if weights.any() else 1.0
    return -(weights * log_probs).sum() / total
