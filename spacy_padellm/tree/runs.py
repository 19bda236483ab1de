"""Runs of growing trees in three ways."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..errors import Errors
from .cached_run import CachedRun
from .model_call import Half, ModelCall
from .packing import pack
from .readout import ALL, Readout
from .run import TreeRun, TreeSupport, Way
from .token_tree import ROOT, TokenTree


class RecomputedRun(TreeRun):
    """A run without a cache: every pass runs whole trees. Training uses it too."""

    def logits(self, nodes: Sequence[Sequence[int]], readout: Readout = ALL) -> Tensor:
        """Run all nodes of the trees that are not retired, and return logits at some of them."""
        live = [place for place in range(len(self.trees)) if place not in self.retired]
        trees = [self.trees[place] for place in live]
        places = [
            (tree, np.asarray(nodes[place], dtype=np.int64)) for tree, place in enumerate(live)
        ]
        numbers = np.concatenate([np.full(len(asked), tree) for tree, asked in places])
        return self.run_whole(trees, numbers, np.concatenate([a for _, a in places]), readout)

    def run_whole(
        self, trees: Sequence[TokenTree], numbers: np.ndarray, nodes: np.ndarray, readout: Readout
    ) -> Tensor:
        """Run all nodes of some trees in one pass, with several trees packed into each batch row.

        Args:
            trees: The trees.
            numbers: For each node asked for, the number of its tree, shape `(n,)`.
            nodes: The nodes to return logits for, same shape.
            readout: Which logits to return.
        """
        packing = pack([len(tree) for tree in trees])
        tokens = np.zeros(packing.shape, dtype=np.int64)
        positions = np.zeros_like(tokens)
        width = tokens.shape[1]
        visible = np.zeros((*tokens.shape, width), dtype=bool)
        # Padding attends to itself, as a softmax needs at least one key.
        visible[:, np.arange(width), np.arange(width)] = True
        for tree, row, start in zip(trees, packing.rows, packing.offsets, strict=True):
            own = slice(start, start + len(tree))
            tokens[row, own] = tree.ids
            positions[row, own] = tree.depths
            visible[row, own, own] = tree.visible(bidirectional_prefix=self.bidirectional_prefix)
        self.tokens += sum(len(tree) for tree in trees)
        rows = np.asarray(packing.rows)[numbers]
        columns = np.asarray(packing.offsets)[numbers] + nodes
        half = None
        if self.in_halves and readout.middle is not None and bool(readout.middle.all()):
            half, readout = Half(self.call.halves[0]), replace(readout, middle=None)
        return self.run(tokens, positions, visible, (rows, columns), readout, half=half)


class SequencesRun(RecomputedRun):
    """A run of separate sequences, one for each branch, padded to the longest.

    Any model can do this. A custom mask is needed only for a bidirectional prefix.
    """

    def logits(self, nodes: Sequence[Sequence[int]], readout: Readout = ALL) -> Tensor:
        """Run each branch as a sequence and return next-token logits at some nodes."""
        chains: list[TokenTree] = []
        wanted: list[tuple[int, int]] = []
        for tree, asked in zip(self.trees, nodes, strict=True):
            row_of: dict[int, int] = {}
            # A node on the way to another one needs no sequence of its own.
            inner = {n for node in asked for n in tree.path(node)[:-1]}
            for leaf in dict.fromkeys(asked):
                if leaf not in inner:
                    for node in tree.path(leaf):
                        row_of.setdefault(node, len(chains))
                    chains.append(_chain(tree, leaf))
            wanted.extend((row_of[node], tree.depths[node]) for node in asked)
        if not chains:
            # No logits are asked for, but a model cannot run an empty batch.
            chains.append(_chain(self.trees[0], 0))
        rows, columns = np.array(wanted, dtype=np.int64).reshape(-1, 2).T
        if self.bidirectional_prefix:
            return self.run_whole(chains, rows, columns, readout)
        # The model's own causal mask and positions are right: padding comes last, and no token
        # attends to what follows it.
        length = max(len(chain) for chain in chains)
        tokens = np.zeros((len(chains), length), dtype=np.int64)
        real = np.zeros_like(tokens)
        for row, chain in enumerate(chains):
            tokens[row, : len(chain)] = chain.ids
            real[row, : len(chain)] = 1
        self.passes += 1
        self.tokens += sum(len(chain) for chain in chains)
        device = self.call.device
        return self.call(
            torch.from_numpy(rows).to(device),
            torch.from_numpy(columns).to(device),
            readout,
            input_ids=torch.from_numpy(tokens).to(device),
            attention_mask=torch.from_numpy(real).to(device),
        )


def _chain(tree: TokenTree, leaf: int) -> TokenTree:
    """Build a tree of the single sequence that ends at a node."""
    # A prefix node may attend to later ones, so the whole prefix is run.
    ids = tree.sequence(max(leaf, tree.prefix_end))
    chain = TokenTree(ids[: tree.prefix_length])
    # Without a prefix, the sequence begins at the root.
    chain.insert(ids[tree.prefix_length :], chain.prefix_end if tree.prefix_length else ROOT)
    return chain


def open_run(
    call: ModelCall,
    trees: Sequence[TokenTree],
    support: TreeSupport,
    *,
    bidirectional_prefix: bool = False,
) -> TreeRun:
    """Start a run of a batch of trees in the way that the model supports.

    Args:
        call: The model's forward pass.
        trees: The trees; they may change between passes.
        support: How the model can run trees.
        bidirectional_prefix: Whether the prefix attends in both directions.

    Raises:
        ValueError: The prefix is bidirectional, but the model takes no custom mask.
    """
    if bidirectional_prefix and support.mask_form is None:
        raise ValueError(Errors.P021.format(model=type(call.model).__name__))
    # Without a custom mask, only separate sequences give the right logits.
    way = "sequences" if support.mask_form is None else support.way
    kinds: Mapping[Way, Callable[..., TreeRun]] = {
        "cached": CachedRun,
        "recomputed": RecomputedRun,
        "sequences": SequencesRun,
    }
    return kinds[way](
        call,
        trees,
        mask_form=support.mask_form,
        bidirectional_prefix=bidirectional_prefix,
        in_halves=support.in_halves,
    )
