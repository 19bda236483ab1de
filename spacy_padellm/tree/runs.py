"""Running a batch of growing trees: three ways, and what a model makes of what may come next."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from ..errors import Errors
from .model_call import ALL, KVCache, MaskForm, ModelCall, Readout
from .packing import pack
from .token_tree import ROOT, TokenTree

Way = Literal["cached", "recomputed", "sequences"]


@dataclass(frozen=True)
class TreeSupport:
    """How a model's trees are run, as the load-time probe found it.

    Args:
        way: `"cached"`: every node once, with a KV cache that grows by nodes. `"recomputed"`: the
            whole tree at each pass, no cache. `"sequences"`: separate padded sequences.
        mask_form: The custom attention mask the model takes: `"4d"`, additive,
            `(batch, 1, query, key)`; `"3d"`, 0 and 1, `(batch, query, key)`; `None`, it takes none.
        max_depth: Longest sequence the mask holds for, in tokens: beyond a model's attention
            window, trees are run as separate sequences. `None` for any length.
    """

    way: Way
    mask_form: MaskForm | None
    max_depth: int | None = None


class Continuations:
    """What may come next at each of several places, and how probable a model finds it.

    The one place where a softmax is taken over what is admissible, in decoding and in training.

    Args:
        admissible: For each place, the ids that may come next.
        over_vocabulary: Whether the softmax is over the whole vocabulary, as in the paper, or over
            the admissible ids only.

    Attributes:
        ids: The ids, padded with -1, shape `(n, most)`.
        needed: The ids whose logits are needed, in ascending order, `None` for the vocabulary.
    """

    def __init__(self, admissible: Sequence[Sequence[int]], *, over_vocabulary: bool) -> None:
        most = max(map(len, admissible), default=1)
        padded = [[*ids, *[-1] * (most - len(ids))] for ids in admissible]
        self.ids = torch.tensor(padded, dtype=torch.long).reshape(len(padded), most)
        self.needed: Tensor | None = None
        self._columns = self.ids.clamp_min(0)
        if not over_vocabulary:
            self.needed = torch.tensor(sorted(set().union(*admissible)), dtype=torch.long)
            # Padding, now 0, has the first column.
            self._columns = torch.searchsorted(self.needed, self._columns)

    def log_probs(self, logits: Tensor, rows: Tensor | None = None) -> Tensor:
        """Take the softmax.

        Args:
            logits: Of the ids needed, shape `(m, n_needed)` or `(m, vocabulary)`.
            rows: Which of the logits are those of each place, shape `(n,)`; by default one each.

        Returns:
            Log-probabilities of the ids, minus infinity where padded, shape `(n, most)`.
        """
        logits = logits.float()
        columns = self._columns.to(logits.device)
        picked = logits.gather(1, columns) if rows is None else logits[rows[:, None], columns]
        picked = picked.masked_fill((self.ids < 0).to(logits.device), -torch.inf)
        if self.needed is not None:
            return picked - picked.logsumexp(dim=1, keepdim=True)
        total = logits.logsumexp(dim=1, keepdim=True)
        return picked - (total if rows is None else total[rows])


class TreeRun(ABC):
    """A batch of trees under way: the caller grows the trees, or cuts them off, and asks for
    logits.

    Args:
        call: The model.
        trees: The trees; they may change between calls.
        mask_form: The custom mask the model takes.
        bidirectional_prefix: Whether the prefix attends in both directions.

    Attributes:
        passes: Forward passes so far.
        tokens: Tokens run so far, padding left out.
    """

    def __init__(
        self,
        call: ModelCall,
        trees: Sequence[TokenTree],
        *,
        mask_form: MaskForm | None,
        bidirectional_prefix: bool = False,
    ) -> None:
        self.passes = 0
        self.tokens = 0
        self.call = call
        self.trees = trees
        self.mask_form = mask_form
        self.bidirectional_prefix = bidirectional_prefix
        self.retired: set[int] = set()

    def retire(self, trees: Iterable[int]) -> None:
        """Say that trees are finished, which saves their padding where there is any.

        Args:
            trees: Places of trees that nothing more will be asked of.
        """
        self.retired.update(trees)

    @abstractmethod
    def logits(self, nodes: Sequence[Sequence[int]], readout: Readout = ALL) -> Tensor:
        """Run what was added to the trees.

        Args:
            nodes: For each tree, nodes added since the last call.
            readout: Which of their logits are wanted.

        Returns:
            Next-token logits at these nodes, tree by tree, `(n, vocabulary)` or `(n, n_ids)`.
        """

    def run(
        self,
        tokens: np.ndarray,
        positions: np.ndarray,
        visible: np.ndarray,
        places: tuple[np.ndarray, np.ndarray],
        readout: Readout,
        cache: KVCache | None = None,
        width: int = 0,
    ) -> Tensor:
        """Run the model once.

        Args:
            tokens: Token ids, shape `(batch, query)`.
            positions: Position ids, same shape.
            visible: Booleans, shape `(batch, query, key)`; `(batch, key)` for padding alone.
            places: Row and column of the logits wanted, each of shape `(n,)`.
            readout: Which logits are wanted.
            cache: What was run before, and where this is kept.
            width: How many places the cache has.

        Returns:
            Logits, shape `(n, vocabulary)` or `(n, n_ids)`.
        """
        self.passes += 1
        inputs = self.call.make_inputs(
            tokens, positions, visible, self.mask_form, None if cache is None else width
        )
        rows, columns = (torch.from_numpy(place).to(self.call.device) for place in places)
        return self.call(rows, columns, readout, cache, **inputs)


class CachedRun(TreeRun):
    """Every node is run once; its keys and values stay in a KV cache until it is cut off."""

    def __init__(
        self,
        call: ModelCall,
        trees: Sequence[TokenTree],
        *,
        mask_form: MaskForm | None,
        bidirectional_prefix: bool = False,
    ) -> None:
        super().__init__(
            call, trees, mask_form=mask_form, bidirectional_prefix=bidirectional_prefix
        )
        self._cache = KVCache(mask_form)
        self._width = 0
        # Padding makes a node's place in the cache differ from its number.
        self._slots = [np.zeros(0, dtype=np.int64) for _ in trees]
        # Of each tree the serial number of the last node that was run.
        self._last = [-1 for _ in trees]
        # The trees in the batch, row by row.
        self._rows = list(range(len(trees)))

    def logits(self, nodes: Sequence[Sequence[int]], readout: Readout = ALL) -> Tensor:
        """Run the nodes that are new."""
        if any(nodes[tree] for tree in self.retired):
            raise ValueError("a tree that was retired is asked for logits")
        self._shrink()
        first = [len(self._slots[tree]) for tree in self._rows]
        new = [len(self.trees[t].ids) - start for t, start in zip(self._rows, first, strict=True)]
        length, width = max(new), self._width
        tokens = np.zeros((len(new), length), dtype=np.int64)
        positions = np.zeros_like(tokens)
        visible = np.zeros((len(new), length, width + length), dtype=bool)
        # Padding sees itself, or its softmax would be over nothing.
        visible[:, np.arange(length), width + np.arange(length)] = True
        columns = [np.zeros(0, dtype=np.int64)]
        for row, (number, start, count) in enumerate(zip(self._rows, first, new, strict=True)):
            tree = self.trees[number]
            tokens[row, :count] = tree.ids[start:]
            positions[row, :count] = tree.depths[start:]
            slots = np.concatenate([self._slots[number], width + np.arange(count)])
            self._slots[number] = slots
            self._last[number] = tree.serials[-1] if tree.serials else -1
            visible[row, :count, slots] = tree.visible(
                start, bidirectional_prefix=self.bidirectional_prefix
            ).T
            columns.append(slots[np.asarray(nodes[number], dtype=np.int64)] - width)
        rows = np.repeat(np.arange(len(new)), [len(nodes[number]) for number in self._rows])
        column = np.concatenate(columns)
        if column.size and column.min() < 0:
            raise ValueError("logits of a node are given in the pass that runs it, not later")
        self._width += length
        self.tokens += sum(new)
        return self.run(tokens, positions, visible, (rows, column), readout, self._cache, width)

    def _shrink(self) -> None:
        """Leave out the trees that were retired, and the nodes that were cut off."""
        live = [row for row, tree in enumerate(self._rows) if tree not in self.retired]
        if len(live) < len(self._rows):
            # On the CPU: the layers of a model that is spread are on several devices.
            self._cache.select(torch.tensor(live))
            self._rows = [self._rows[row] for row in live]
        width = 0
        for number in self._rows:
            kept = bisect_right(self.trees[number].serials, self._last[number])
            self._slots[number] = self._slots[number][:kept]
            if kept:
                width = max(width, int(self._slots[number][-1]) + 1)
        if width < self._width:
            self._cache.cut(self._width - width)
            self._width = width


class RecomputedRun(TreeRun):
    """The whole tree is run at each pass, without a cache: also the way to train."""

    def logits(self, nodes: Sequence[Sequence[int]], readout: Readout = ALL) -> Tensor:
        """Run all nodes of all trees that are not retired."""
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
        """Run all nodes of some trees at once, several trees in a row.

        Args:
            trees: The trees.
            numbers: The number of the tree of each node wanted, shape `(n,)`.
            nodes: The nodes whose logits are wanted, same shape.
            readout: Which logits are wanted.
        """
        packing = pack([len(tree) for tree in trees])
        tokens = np.zeros(packing.shape, dtype=np.int64)
        positions = np.zeros_like(tokens)
        width = tokens.shape[1]
        visible = np.zeros((*tokens.shape, width), dtype=bool)
        # Padding sees itself, or its softmax would be over nothing.
        visible[:, np.arange(width), np.arange(width)] = True
        for tree, row, start in zip(trees, packing.rows, packing.offsets, strict=True):
            own = slice(start, start + len(tree))
            tokens[row, own] = tree.ids
            positions[row, own] = tree.depths
            visible[row, own, own] = tree.visible(bidirectional_prefix=self.bidirectional_prefix)
        self.tokens += sum(len(tree) for tree in trees)
        rows = np.asarray(packing.rows)[numbers]
        columns = np.asarray(packing.offsets)[numbers] + nodes
        return self.run(tokens, positions, visible, (rows, columns), readout)


class SequencesRun(RecomputedRun):
    """Each branch is a sequence of its own, padded to the longest: what any model can do. It takes
    a custom mask only where the prefix is bidirectional.
    """

    def logits(self, nodes: Sequence[Sequence[int]], readout: Readout = ALL) -> Tensor:
        """Run each branch to a node as a sequence."""
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
            # Nothing is asked for, but a model has to be given something.
            chains.append(_chain(self.trees[0], 0))
        rows, columns = np.array(wanted, dtype=np.int64).reshape(-1, 2).T
        if self.bidirectional_prefix:
            return self.run_whole(chains, rows, columns, readout)
        # Under the model's own causal mask. Padding comes last, where causal attention never looks,
        # and positions are the model's own.
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
    # A node of the prefix is run with all of it, as it may see what follows it there.
    ids = tree.sequence(max(leaf, tree.prefix_end))
    chain = TokenTree(ids[: tree.prefix_length])
    # Without its prefix a chain is an ordinary sequence from the root.
    chain.insert(ids[tree.prefix_length :], chain.prefix_end if tree.prefix_length else ROOT)
    return chain


_RUNS: Mapping[Way, type[TreeRun]] = {
    "cached": CachedRun,
    "recomputed": RecomputedRun,
    "sequences": SequencesRun,
}


def open_run(
    call: ModelCall,
    trees: Sequence[TokenTree],
    support: TreeSupport,
    *,
    bidirectional_prefix: bool = False,
) -> TreeRun:
    """Begin running a batch of trees in the way that fits the model.

    Args:
        call: The model.
        trees: The trees.
        support: How to run them.
        bidirectional_prefix: Whether the prefix attends in both directions.

    Raises:
        ValueError: A bidirectional prefix, and the model takes no custom mask.
    """
    if bidirectional_prefix and support.mask_form is None:
        raise ValueError(Errors.P021.format(model=type(call.model).__name__))
    # Without a custom mask nothing else is right.
    way = "sequences" if support.mask_form is None else support.way
    return _RUNS[way](
        call,
        trees,
        mask_form=support.mask_form,
        bidirectional_prefix=bidirectional_prefix,
    )
