"""Token tree: sequences that share their beginnings, each distinct token held once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

ROOT = -1


class TokenTree:
    """A prefix tree of token ids that grows, and whose last nodes can be cut off.

    Nodes are numbered in the order they were inserted, so a parent always comes before its
    children. A node's position id is its depth, and it attends to its ancestors and itself: run
    like this, the logits at a node are those of the separate sequence that ends there.

    ids (List[int]): Token id of each node.
    parents (List[int]): Parent of each node, `ROOT` where it has none.
    depths (List[int]): Position of each node in every sequence through it, from 0.
    serials (List[int]): For each node a number that no other node ever had, in ascending order:
        the number of a node that was cut off is given to another one.
    prefix_length (int): The first nodes, one chain, that may attend in both directions where the
        model was trained so (prefix-LM).
    """

    def __init__(self, prefix: Sequence[int] = ()) -> None:
        """prefix (Sequence[int]): Token ids all sequences begin with."""
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
        self.prefix_length = len(self)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def is_regrown(self) -> bool:
        """RETURNS (bool): Whether some nodes have the numbers of others that were cut off."""
        return len(self) > 0 and self.serials[-1] >= len(self)

    @property
    def prefix_end(self) -> int:
        """RETURNS (int): The prefix's last node, `ROOT` where there is no prefix."""
        return self.prefix_length - 1

    def insert(self, ids: Iterable[int], parent: int = ROOT) -> list[int]:
        """Insert a sequence below a node; what is there already is shared.

        ids (Iterable[int]): Token ids.
        parent (int): The node the sequence continues.
        RETURNS (List[int]): The node of each token.
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

        size (int): How many nodes to keep, the prefix at least.
        RAISES (ValueError): The prefix cannot be cut.
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
        """node (int): A node.
        RETURNS (List[int]): The nodes from the first token to it.
        """
        nodes = []
        while node != ROOT:
            nodes.append(node)
            node = self.parents[node]
        return nodes[::-1]

    def sequence(self, node: int) -> list[int]:
        """node (int): A node.
        RETURNS (List[int]): The token ids from the first to the node's.
        """
        return [self.ids[n] for n in self.path(node)]

    def visible(self, first: int = 0, *, bidirectional_prefix: bool = False) -> np.ndarray:
        """Which nodes attend to which.

        first (int): Leave out the rows of the nodes before this one.
        bidirectional_prefix (bool): Whether prefix nodes see the whole prefix.
        RETURNS (np.ndarray): Booleans of shape `(n_nodes - first, n_nodes)`; `[q, k]` says
            whether node `first + q` sees node `k`.
        """
        self._fill_visible()
        size = len(self)
        rows = self._visible[first:size, :size].copy()
        if bidirectional_prefix and first < self.prefix_length:
            rows[: self.prefix_length - first, : self.prefix_length] = True
        return rows

    def _fill_visible(self) -> None:
        size = len(self)
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
