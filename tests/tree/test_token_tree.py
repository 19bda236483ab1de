from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_padellm.tree.token_tree import ROOT, TokenTree, Trie

# Few different tokens, so that beginnings are shared often.
ids = st.lists(st.integers(0, 2), max_size=4)
additions = st.lists(st.tuples(st.integers(0, 1000), ids), max_size=12)


def grow(tree: TokenTree, additions: list[tuple[int, list[int]]]) -> set[tuple[int, ...]]:
    """Insert sequences below nodes of the tree; what should be in it then."""
    expected = {tuple(tree.sequence(tree.prefix_end)[: i + 1]) for i in range(tree.prefix_length)}
    for choice, sequence in additions:
        parent = choice % (len(tree) + 1) - 1
        before = tuple(tree.sequence(parent))
        nodes = tree.insert(sequence, parent)
        assert [tree.ids[node] for node in nodes] == sequence
        whole = (*before, *sequence)
        expected |= {whole[: i + 1] for i in range(len(whole))}
    return expected


@given(prefix=ids, additions=additions)
def test_each_distinct_beginning_is_one_node(prefix, additions):
    tree = TokenTree(prefix)
    expected = grow(tree, additions)
    sequences = [tuple(tree.sequence(node)) for node in range(len(tree))]
    assert len(sequences) == len(expected)
    assert set(sequences) == expected


@given(prefix=ids, additions=additions)
def test_paths_sequences_and_depths(prefix, additions):
    tree = TokenTree(prefix)
    grow(tree, additions)
    for node in range(len(tree)):
        path = tree.path(node)
        assert path[-1] == node
        assert [tree.parents[n] for n in path] == [ROOT, *path[:-1]]
        assert path == sorted(path)
        assert [tree.depths[n] for n in path] == list(range(len(path)))
        # What is there already is found again, and nothing is added.
        size = len(tree)
        assert tree.insert(tree.sequence(node)) == path
        assert len(tree) == size


@given(prefix=ids, additions=additions, more=additions, choice=st.integers(0, 1000))
def test_a_tree_that_is_cut_is_as_if_it_had_not_grown(prefix, additions, more, choice):
    tree, fresh = TokenTree(prefix), TokenTree(prefix)
    grow(tree, additions)
    tree.visible()
    size = tree.prefix_length + choice % (len(tree) - tree.prefix_length + 1)
    kept = [(tree.ids[node], tree.parents[node]) for node in range(size)]
    tree.cut(size)
    for token_id, parent in kept[tree.prefix_length :]:
        fresh.insert([token_id], parent)
    for each in (tree, fresh):
        grow(each, more)
    for column in ("ids", "parents", "depths", "prefix_length"):
        assert getattr(tree, column) == getattr(fresh, column)
    assert np.array_equal(tree.visible(), fresh.visible())


@given(prefix=ids, steps=st.lists(st.tuples(additions, st.integers(0, 1000)), max_size=4))
def test_no_two_nodes_ever_have_the_same_serial(prefix, steps):
    tree = TokenTree(prefix)
    seen = list(tree.serials)
    for additions, choice in steps:
        size = tree.prefix_length + choice % (len(tree) - tree.prefix_length + 1)
        kept = tree.serials[:size]
        tree.cut(size)
        grow(tree, additions)
        assert tree.serials[:size] == kept
        assert len(tree.serials) == len(tree) == len(tree.parents)
        seen += tree.serials[size:]
        assert tree.serials == sorted(tree.serials)
    assert len(set(seen)) == len(seen)


def test_the_prefix_is_not_cut():
    with pytest.raises(ValueError, match="prefix"):
        TokenTree([1, 2]).cut(1)


def naive_visible(tree: TokenTree, bidirectional: bool) -> np.ndarray:
    """Whether one node's sequence begins with another's, and the prefix block."""
    sequences = [tree.sequence(node) for node in range(len(tree))]
    visible = np.zeros((len(tree), len(tree)), dtype=bool)
    for q, query in enumerate(sequences):
        for k, key in enumerate(sequences):
            visible[q, k] = query[: len(key)] == key
            if bidirectional and max(q, k) < tree.prefix_length:
                visible[q, k] = True
    return visible


@given(prefix=ids, steps=st.lists(additions, max_size=4), bidirectional=st.booleans())
def test_a_node_sees_its_ancestors_however_the_tree_grew(prefix, steps, bidirectional):
    tree = TokenTree(prefix)
    for additions in [[], *steps]:
        grow(tree, additions)
        expected = naive_visible(tree, bidirectional)
        for first in {0, len(prefix) // 2, len(prefix), len(tree) // 2, len(tree)}:
            found = tree.visible(first, bidirectional_prefix=bidirectional)
            assert np.array_equal(found, expected[first:])


def test_the_mask_given_out_is_the_callers():
    tree = TokenTree([1, 2, 3])
    tree.visible(bidirectional_prefix=True)[:] = True
    assert np.array_equal(tree.visible(), np.tri(3, dtype=bool))


def test_prefix():
    tree = TokenTree([7, 8])
    assert (tree.prefix_length, tree.prefix_end) == (2, 1)
    assert tree.insert([9], tree.prefix_end) == [2]
    assert (tree.prefix_length, tree.prefix_end) == (2, 1)
    assert tree.sequence(2) == [7, 8, 9]


def test_a_tree_without_a_prefix():
    tree = TokenTree()
    assert (len(tree), tree.prefix_length, tree.prefix_end) == (0, 0, ROOT)
    assert tree.visible().shape == (0, 0)
    assert tree.path(ROOT) == []
    assert tree.insert([4, 5], tree.prefix_end) == [0, 1]
    assert tree.depths == [0, 1]


def test_the_same_token_in_two_places_is_two_nodes():
    tree = TokenTree([1])
    assert tree.insert([2, 3], 0) == [1, 2]
    assert tree.insert([4, 3], 0) == [3, 4]
    assert tree.insert([2, 5], 0) == [1, 5]
    assert tree.parents == [ROOT, 0, 1, 0, 3, 1]
    assert tree.visible().astype(int).tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [1, 0, 0, 1, 0, 0],
        [1, 0, 0, 1, 1, 0],
        [1, 1, 0, 0, 0, 1],
    ]


@given(st.lists(st.lists(st.integers(0, 2), max_size=4), max_size=10))
def test_sequences_are_found_and_nothing_else(sequences):
    trie = Trie(([*sequence, 9], value) for value, sequence in enumerate(sequences))
    for sequence in sequences:
        expected = [value for value, other in enumerate(sequences) if other == sequence]
        assert trie.values(trie.find([*sequence, 9])) == expected
        assert trie.is_leaf(trie.find([*sequence, 9]))
    beginnings = {tuple(s[:i]) for s in sequences for i in range(len(s) + 1)} | {()}
    for beginning in beginnings:
        node = trie.find(beginning)
        follow = {s[len(beginning)] for s in map(tuple, sequences) if _continues(s, beginning)}
        follow |= {9} if list(beginning) in sequences else set()
        assert list(trie.children(node)) == sorted(follow)
        assert not trie.is_leaf(node)
        assert trie.values(node) == []
        assert trie.find([*beginning, 5]) is None
        assert trie.find([*beginning, 5, 1]) is None
    assert trie.depth == max((len(s) + 1 for s in sequences), default=0)
    assert sorted(trie.ordered) == list(range(len(sequences)))


def _continues(sequence: tuple[int, ...], beginning: tuple[int, ...]) -> bool:
    return len(sequence) > len(beginning) and sequence[: len(beginning)] == beginning
