"""Every family of models: the tree's logits are those of its sequences, run one by one."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from spacy_padellm.tree.model_call import ModelCall
from spacy_padellm.tree.run import TreeSupport
from spacy_padellm.tree.runs import open_run
from spacy_padellm.tree.token_tree import TokenTree
from tests.sample_tokenizers import TRANSFORMERS_5
from tests.tiny_models import FAMILIES, plain_logits, prefix_lm_logits, tiny_lm
from tests.tree.forests import Forest, expected_logits, random_forest, run_forest, written_forest

MASK = {family: "4d" for family in FAMILIES} | {
    "bert": "4d" if TRANSFORMERS_5 else "3d",
    "bloom": None,
}
WAYS = [
    (family, way)
    for family in FAMILIES
    for way in ("cached", "halves", "recomputed", "sequences")
    if not (family == "bloom" and way != "sequences")
]
MASKED = [family for family in FAMILIES if MASK[family]]


def causal_forests() -> list[Forest]:
    forests = [random_forest(seed, 1 + seed % 5, prefix=(0, 8)) for seed in range(30)]
    assert sum(len(forest.prefixes) for forest in forests) >= 50
    return forests


@cache
def one_by_one(family: str) -> list[Tensor]:
    model = tiny_lm(family).model
    return [
        expected_logits(forest, lambda ids, tree: plain_logits(model, ids))
        for forest in causal_forests()
    ]


def largest_difference(found: list[Tensor], expected: list[Tensor]) -> float:
    return (torch.cat(found) - torch.cat(expected)).abs().max().item()


def runner(family: str, way: str, bidirectional: bool = False):
    call = ModelCall(tiny_lm(family).model)
    support = TreeSupport(way, MASK[family])
    if way == "halves":
        support = TreeSupport("cached", MASK[family], in_halves=True)
    return lambda trees: open_run(call, trees, support, bidirectional_prefix=bidirectional)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_probe_finds_the_best_way(family):
    way = "sequences" if family == "bloom" else "cached"
    # Gemma 2 has a window of 64, within which trees hold.
    window = 64 if family == "gemma2" else None
    expected = TreeSupport(way, MASK[family], window, in_halves=way == "cached")
    assert tiny_lm(family).support == expected


@pytest.mark.parametrize("family, way", WAYS)
def test_trees_have_the_logits_of_their_sequences(family, way):
    found = [run_forest(forest, runner(family, way)) for forest in causal_forests()]
    assert largest_difference(found, one_by_one(family)) < 1e-4


@pytest.mark.parametrize("family", FAMILIES)
def test_so_does_the_way_the_probe_chose(family):
    """Through `CausalLM.open`, as the decoder runs trees."""
    found = [
        run_forest(forest, lambda trees: tiny_lm(family).open(trees, 40))
        for forest in causal_forests()[:4]
    ]
    assert largest_difference(found, one_by_one(family)[:4]) < 1e-4


@pytest.mark.parametrize("family", MASKED)
@pytest.mark.parametrize("wrong", ["mask", "positions"])
def test_a_wrong_tree_shows(family, wrong, monkeypatch):
    """The comparison sees what it is there to see: branches that look at each other, or stand
    in the wrong place.
    """
    if wrong == "mask":
        monkeypatch.setattr(
            TokenTree,
            "visible",
            lambda tree, first=0, **_: np.tri(len(tree), dtype=bool)[first:],
        )
    else:
        insert = TokenTree.insert

        def insert_in_a_row(tree, ids, parent=-1):
            nodes = insert(tree, ids, parent)
            tree.depths = list(range(len(tree)))
            return nodes

        monkeypatch.setattr(TokenTree, "insert", insert_in_a_row)
    found = [run_forest(f, runner(family, "recomputed")) for f in causal_forests()[:3]]
    assert largest_difference(found, one_by_one(family)[:3]) > 0.1


def prefixed_forests() -> list[Forest]:
    return [random_forest(100 + seed, 1 + seed % 3, prefix=(2, 8)) for seed in range(6)]


@cache
def one_by_one_bidirectional(family: str) -> list[Tensor]:
    model = tiny_lm(family).model
    return [
        expected_logits(forest, lambda ids, tree: prefix_lm_logits(model, ids, tree.prefix_length))
        for forest in prefixed_forests()
    ]


@pytest.mark.parametrize("family, way", [(f, way) for f, way in WAYS if MASK[f]])
def test_the_prefix_attends_in_both_directions(family, way):
    found = [run_forest(forest, runner(family, way, True)) for forest in prefixed_forests()]
    assert largest_difference(found, one_by_one_bidirectional(family)) < 1e-4


@pytest.mark.parametrize("family", MASKED)
def test_a_causal_run_is_another(family):
    found = [run_forest(forest, runner(family, "recomputed")) for forest in prefixed_forests()]
    assert largest_difference(found, one_by_one_bidirectional(family)) > 0.1


@pytest.mark.parametrize("family, way", [w for w in WAYS if w[0] != "gemma2"])
def test_a_tree_may_have_more_nodes_than_the_model_has_positions(family, way):
    """Its sequences may not. (Gemma 2's window is shorter than these.)"""
    forest = random_forest(0, 1, prefix=(100, 100), passes=1)
    forest.growth = [[[(99, [first, *range(10)]) for first in range(20, 25)]]]
    forest.asked = [[[110, 121, 154]]]
    (tree,) = forest.grown()
    assert len(tree) == 155
    assert max(tree.depths) == 110
    model = tiny_lm(family).model
    expected = expected_logits(forest, lambda ids, tree: plain_logits(model, ids))
    assert largest_difference([run_forest(forest, runner(family, way))], [expected]) < 1e-4


@pytest.mark.parametrize("family, way", WAYS)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_trees_that_grow_as_they_are_written(family, way, bidirectional):
    """Branch by branch, a token a pass, some longer than others."""
    model = tiny_lm(family).model
    if bidirectional and MASK[family] is None:
        pytest.skip("takes no custom mask")

    def run_alone(ids: list[int], tree: TokenTree) -> Tensor:
        if bidirectional:
            return prefix_lm_logits(model, ids, tree.prefix_length)
        return plain_logits(model, ids)

    longest = 0
    for seed in range(8):
        forest = written_forest(seed, 1 + seed % 3)
        longest = max(longest, len(forest.asked))
        found = run_forest(forest, runner(family, way, bidirectional))
        assert largest_difference([found], [expected_logits(forest, run_alone)]) < 1e-4
    assert longest == 6
