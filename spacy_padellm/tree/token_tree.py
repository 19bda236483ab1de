"""Prefix trees of token ids: the tree that a model runs, and the trie of what it may write."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Generic, NamedTuple, TypeVar

import numpy as np

ROOT = -1

Value = TypeVar("Value")


class TokenTree:
    """A growing tree of token sequences that holds each shared beginning only once.

    Nodes are numbered in the order of insertion, so a parent comes before its children. The last
    nodes can be cut off. A node's position id is its depth, and it attends to its ancestors and
    itself. So the logits at a node equal those of the separate sequence that ends there.

    Args:
        prefix: The token ids that all sequences begin with.

    Attributes:
        ids: Token id of each node.
        parents: Parent of each node; `ROOT` if it has none.
        depths: Depth of each node, from 0: its position in the sequences through it.
        serials: Serial number of each node, ascending. Serial numbers are never reused, unlike the
            numbers of nodes that were cut off.
        prefix_length: Number of nodes in the prefix: the first nodes, which form one chain. They
            may attend in both directions if the model was trained so (prefix-LM).
        prefix_end: The last node of the prefix; `ROOT` if there is no prefix.
    """

    def __init__(self, prefix: Sequence[int] = ()) -> None:
        self.ids: list[int] = []
        self.parents: list[int] = []
        self.depths: list[int] = []
        self.serials: list[int] = []
        self._children: dict[tuple[int, int], int] = {}
        self._visible = np.zeros((0, 0), dtype=bool)
        self._visible_rows = 0
        self._next_serial = 0
        self.prefix_length = 0
        self.insert(prefix)
        self.prefix_length = len(self.ids)
        self.prefix_end = self.prefix_length - 1

    def __len__(self) -> int:
        return len(self.ids)

    def insert(self, ids: Iterable[int], parent: int = ROOT) -> list[int]:
        """Insert a sequence below a node, and share the nodes that are there already.

        Args:
            ids: Token ids.
            parent: The node that the sequence continues.

        Returns:
            The node of each token.
        """
        nodes = []
        for token_id in ids:
            node = self._children.get((parent, token_id))
            if node is None:
                node = len(self.ids)
                self._children[(parent, token_id)] = node
                self.ids.append(token_id)
                self.parents.append(parent)
                self.depths.append(0 if parent == ROOT else self.depths[parent] + 1)
                self.serials.append(self._next_serial)
                self._next_serial += 1
            nodes.append(node)
            parent = node
        return nodes

    def cut(self, size: int) -> None:
        """Remove the nodes that were inserted last.

        Args:
            size: Number of nodes to keep, at least those of the prefix.

        Raises:
            ValueError: The prefix would be cut.
        """
        if size < self.prefix_length:
            raise ValueError("the prefix of a tree cannot be cut")
        for node in range(size, len(self)):
            del self._children[(self.parents[node], self.ids[node])]
        for column in (self.ids, self.parents, self.depths, self.serials):
            del column[size:]
        self._visible[size : self._visible_rows] = False
        self._visible_rows = min(size, self._visible_rows)

    def path(self, node: int) -> list[int]:
        """Return the nodes on the path from the first token to a node."""
        nodes = []
        while node != ROOT:
            nodes.append(node)
            node = self.parents[node]
        return nodes[::-1]

    def sequence(self, node: int) -> list[int]:
        """Return the token ids on the path from the first token to a node."""
        return [self.ids[n] for n in self.path(node)]

    def visible(self, first: int = 0, *, bidirectional_prefix: bool = False) -> np.ndarray:
        """Return which nodes attend to which.

        Args:
            first: The first node to return a row for.
            bidirectional_prefix: Whether each prefix node attends to the whole prefix.

        Returns:
            Booleans, shape `(n_nodes - first, n_nodes)`; `[q, k]` says whether node `first + q`
            attends to node `k`.
        """
        size = len(self.ids)
        if size > len(self._visible):
            # A tree that grows after its first pass doubles its capacity, so that copies stay few.
            capacity = 2 * size if len(self._visible) else size
            grown = np.zeros((capacity, capacity), dtype=bool)
            done = self._visible_rows
            grown[:done, :done] = self._visible[:done, :done]
            self._visible = grown
        for node in range(self._visible_rows, size):
            if (parent := self.parents[node]) != ROOT:
                self._visible[node, : parent + 1] = self._visible[parent, : parent + 1]
            self._visible[node, node] = True
        self._visible_rows = size
        rows: np.ndarray = self._visible[first:size, :size].copy()
        if bidirectional_prefix and first < self.prefix_length:
            rows[: self.prefix_length - first, : self.prefix_length] = True
        return rows


class Place(NamedTuple):
    """A node of a trie: the sequences that begin alike.

    Args:
        first: The number of the first of these sequences, in the order of their ids.
        end: One past the number of the last.
        depth: How many tokens they have in common.
    """

    first: int
    end: int
    depth: int


class Trie(Generic[Value]):
    """A trie of the admissible token sequences and the values they stand for.

    Nodes are worked out when they are asked for: most of a text's stretches are never looked at.

    Args:
        sequences: The sequences, each with a value. Several values may have the same sequence. A
            sequence ends with a terminator token that occurs nowhere else in it, so only leaves
            have values.

    Attributes:
        start: The node that all sequences begin at.
        depth: Length of the longest sequence, with its terminator.
        ordered: All values, in the order of their sequences.
    """

    def __init__(self, sequences: Iterable[tuple[Sequence[int], Value]] = ()) -> None:
        # The sort is stable, so values of the same sequence stay in their order.
        ordered = sorted(sequences, key=itemgetter(0))
        self._ids = [ids for ids, _ in ordered]
        self.ordered = [value for _, value in ordered]
        self.depth = max(map(len, self._ids), default=0)
        self.start = Place(0, len(ordered), 0)
        self._children: dict[Place, dict[int, Place]] = {}

    def __len__(self) -> int:
        """Return the number of values."""
        return len(self.ordered)

    @property
    def ids(self) -> set[int]:
        """All ids of the sequences."""
        return {token_id for ids in self._ids for token_id in ids}

    def is_leaf(self, place: Place) -> bool:
        """Return whether a sequence ends at a node."""
        return place.first < place.end and len(self._ids[place.first]) == place.depth

    def children(self, place: Place) -> Mapping[int, Place]:
        """Return the nodes that follow a node, by token id, in ascending order."""
        found = self._children.get(place)
        if found is None:
            first, end, depth = place
            starts: dict[int, int] = {}
            if not self.is_leaf(place):
                for number in range(first, end):
                    starts.setdefault(self._ids[number][depth], number)
            ends = [*starts.values(), end][1:]
            found = {
                token_id: Place(start, its_end, depth + 1)
                for (token_id, start), its_end in zip(starts.items(), ends, strict=True)
            }
            self._children[place] = found
        return found

    def values(self, place: Place) -> list[Value]:
        """Return the values of the sequence that ends at a node; empty if none does."""
        return self.ordered[place.first : place.end] if self.is_leaf(place) else []

    def find(self, ids: Iterable[int]) -> Place | None:
        """Return the node that some token ids lead to, `None` if no sequence begins with them."""
        place: Place | None = self.start
        for token_id in ids:
            if place is None:
                return None
            place = self.children(place).get(token_id)
        return place
