"""Prefix trees of token ids: the tree that a model runs, and the trie of what it may write."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Generic, TypeVar

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


class Trie(Generic[Value]):
    """A trie of the admissible token sequences and the values they stand for.

    Every sequence ends with a terminator token that occurs nowhere else in it, so only leaves have
    values.

    Attributes:
        children: For each node, a mapping from token id to child node. Node 0 is the start.
        values: A mapping from leaf to the values of its sequence, in order of insertion.
        depth: Length of the longest sequence, with its terminator.
    """

    START = 0

    def __init__(self) -> None:
        self.children: list[dict[int, int]] = [{}]
        self.values: dict[int, list[Value]] = {}
        self.depth = 0
        self._last_ids: Sequence[int] = ()
        self._last_path = [self.START]

    def insert(self, ids: Sequence[int], value: Value) -> None:
        """Insert a sequence and a value that it stands for.

        Args:
            ids: The sequence, with its terminator.
            value: The value. A sequence may stand for several values.
        """
        # Spans come sorted by ids, so most begin with the one before, up to its terminator.
        shared = len(self._last_ids) - 1
        if shared < 1 or ids[:shared] != self._last_ids[:shared]:
            shared = 0
        path = self._last_path[: shared + 1]
        for token_id in ids[shared:]:
            children = self.children[path[-1]]
            if token_id not in children:
                children[token_id] = len(self.children)
                self.children.append({})
            path.append(children[token_id])
        self._last_ids, self._last_path = ids, path
        self.depth = max(self.depth, len(ids))
        self.values.setdefault(path[-1], []).append(value)

    def find(self, ids: Iterable[int]) -> int | None:
        """Return the node that some token ids lead to, `None` if no sequence begins with them."""
        node: int | None = self.START
        for token_id in ids:
            if node is None:
                return None
            node = self.children[node].get(token_id)
        return node
