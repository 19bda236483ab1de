"""Prefix trees of token ids: what is run through a model, and what a model may write."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Generic, TypeVar

import numpy as np

ROOT = -1

Value = TypeVar("Value")


class TokenTree:
    """Sequences that share their beginnings, each distinct token held once.

    It grows, and its last nodes can be cut off. Nodes are numbered in the order they were inserted,
    so a parent always comes before its children. A node's position id is its depth, and it attends
    to its ancestors and itself: run like this, the logits at a node are those of the separate
    sequence that ends there.

    Args:
        prefix: Token ids all sequences begin with.

    Attributes:
        ids: Token id of each node.
        parents: Parent of each node, `ROOT` where it has none.
        depths: Position of each node in every sequence through it, from 0.
        serials: For each node a number that no other node ever had, in ascending order: the number
            of a node that was cut off is given to another one.
        prefix_length: The first nodes, one chain, that may attend in both directions where the
            model was trained so (prefix-LM).
        prefix_end: The last of them, `ROOT` where there is no prefix.
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
        """Insert a sequence below a node; what is there already is shared.

        Args:
            ids: Token ids.
            parent: The node the sequence continues.

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
        """Take back the nodes inserted last.

        Args:
            size: How many nodes to keep, the prefix at least.

        Raises:
            ValueError: The prefix cannot be cut.
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
        """List the nodes from the first token to a node."""
        nodes = []
        while node != ROOT:
            nodes.append(node)
            node = self.parents[node]
        return nodes[::-1]

    def sequence(self, node: int) -> list[int]:
        """List the token ids from the first to a node's."""
        return [self.ids[n] for n in self.path(node)]

    def visible(self, first: int = 0, *, bidirectional_prefix: bool = False) -> np.ndarray:
        """Say which nodes attend to which.

        Args:
            first: Leave out the rows of the nodes before this one.
            bidirectional_prefix: Whether prefix nodes see the whole prefix.

        Returns:
            Booleans of shape `(n_nodes - first, n_nodes)`; `[q, k]` says whether node `first + q`
            sees node `k`.
        """
        size = len(self.ids)
        if size > len(self._visible):
            # Doubling, once a tree grows after its first pass: constant cost for each node.
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
    """Admissible token sequences and what each stands for.

    Sequences end with a terminator token that occurs nowhere else in them, so values are found at
    leaves only.

    Attributes:
        children: For each node, token id → child node. Node 0 is the start.
        values: Leaf → what its sequence stands for, in order of insertion.
        depth: Length of the longest sequence, its terminator included.
    """

    START = 0

    def __init__(self) -> None:
        self.children: list[dict[int, int]] = [{}]
        self.values: dict[int, list[Value]] = {}
        self.depth = 0
        self._last_ids: Sequence[int] = ()
        self._last_path = [self.START]

    def insert(self, ids: Sequence[int], value: Value) -> None:
        """Insert a sequence.

        Args:
            ids: The sequence, its terminator included.
            value: What it stands for; a sequence may stand for several.
        """
        # Spans come by start and length: most begin with all of the one before.
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
        """Find the node that the beginning of a sequence leads to, `None` if none begins so."""
        node: int | None = self.START
        for token_id in ids:
            if node is None:
                return None
            node = self.children[node].get(token_id)
        return node
