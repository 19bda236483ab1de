"""Random trees that grow in several passes, with the logits of their sequences run alone."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from spacy_padellm.tree.run import TreeRun
from spacy_padellm.tree.token_tree import ROOT, TokenTree
from tests.tiny_models import VOCABULARY


@dataclass
class Forest:
    """A batch of trees.

    prefixes: The prefix of each tree.
    growth: For each pass and tree, sequences to insert, each with the node it continues.
    asked: For each pass and tree, nodes added in it whose logits are asked for.
    """

    prefixes: list[list[int]]
    growth: list[list[list[tuple[int, list[int]]]]]
    asked: list[list[list[int]]]

    def plant(self) -> list[TokenTree]:
        return [TokenTree(prefix) for prefix in self.prefixes]

    def grow(self, trees: Sequence[TokenTree], turn: int) -> None:
        for tree, additions in zip(trees, self.growth[turn], strict=True):
            for parent, ids in additions:
                tree.insert(ids, parent)

    def grown(self) -> list[TokenTree]:
        trees = self.plant()
        for turn in range(len(self.growth)):
            self.grow(trees, turn)
        return trees


def random_forest(seed: int, n_trees: int, *, prefix: tuple[int, int], passes: int = 3) -> Forest:
    """Trees of different sizes, some of which do not grow in some passes. Every node below the
    prefix, where there is one; the prefix itself is run in the first pass.
    """
    rng = random.Random(seed)

    def ids(low: int, high: int) -> list[int]:
        return [rng.randrange(VOCABULARY) for _ in range(rng.randint(low, high))]

    forest = Forest([ids(*prefix) for _ in range(n_trees)], [], [])
    trees = forest.plant()
    known = [0] * n_trees
    for turn in range(passes):
        growth: list[list[tuple[int, list[int]]]] = []
        for tree in trees:
            additions = []
            for _ in range(rng.randint(1 if turn == 0 else 0, 3)):
                parents = range(tree.prefix_end, len(tree)) if len(tree) else [ROOT]
                additions.append((rng.choice(parents), ids(1, 4)))
                tree.insert(additions[-1][1], additions[-1][0])
            growth.append(additions)
        if not any(len(tree) > start for tree, start in zip(trees, known, strict=True)):
            continue
        forest.growth.append(growth)
        new = [range(start, len(tree)) for tree, start in zip(trees, known, strict=True)]
        # Out of order and with repeats: logits come as asked for.
        forest.asked.append([rng.choices(r, k=rng.randint(1, 6)) if r else [] for r in new])
        known = [len(tree) for tree in trees]
    return forest


def written_forest(seed: int, n_trees: int) -> Forest:
    """Trees that grow as decoding makes them: branches, which go on by a token a pass, some longer
    than others; then the same again below their ends.
    """
    rng = random.Random(seed)
    forest = Forest([[rng.randrange(VOCABULARY) for _ in range(5)] for _ in range(n_trees)], [], [])
    trees = forest.plant()
    live = [[tree.prefix_end] * 2 for tree in trees]
    ended: list[list[int]] = [[] for _ in trees]
    for turn in range(6):
        opens = turn in (0, 3)
        if turn == 3:
            live = [[*live[row], *ended[row]] for row in range(n_trees)]
        growth: list[list[tuple[int, list[int]]]] = [[] for _ in trees]
        for row, tree in enumerate(trees):
            leaves = []
            for first, node in enumerate(live[row]):
                if not opens and rng.random() < 0.3:
                    ended[row].append(node)
                    continue
                length = rng.randint(2, 4) if opens else 1
                # A token of its own begins each branch.
                ids = [first, *(rng.randrange(VOCABULARY) for _ in range(length - 1))]
                growth[row].append((node, ids))
                leaves.append(tree.insert(ids, node)[-1])
            live[row] = leaves
        if any(live):
            forest.growth.append(growth)
            forest.asked.append([list(leaves) for leaves in live])
    return forest


def run_forest(forest: Forest, open_run: Callable[[list[TokenTree]], TreeRun]) -> Tensor:
    """The logits asked for, pass by pass."""
    trees = forest.plant()
    found = []
    with torch.no_grad():
        run = open_run(trees)
        for turn, asked in enumerate(forest.asked):
            forest.grow(trees, turn)
            found.append(run.logits(asked))
    return torch.cat(found)


def expected_logits(forest: Forest, run_alone: Callable[[list[int], TokenTree], Tensor]) -> Tensor:
    """The same logits from one sequence at a time.

    run_alone: Runs the ids of one sequence of a tree, gives the logits at each.
    """
    at: list[dict[int, Tensor]] = []
    with torch.no_grad():
        for tree in forest.grown():
            logits: dict[int, Tensor] = {}
            for leaf in set(range(len(tree))) - set(tree.parents):
                path = tree.path(leaf)
                alone = run_alone([tree.ids[node] for node in path], tree)
                logits.update(zip(path, alone, strict=True))
            at.append(logits)
    return torch.stack(
        [
            at[row][node]
            for asked in forest.asked
            for row, nodes in enumerate(asked)
            for node in nodes
        ]
    )
