from __future__ import annotations

import random
from functools import cache
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from spacy_padellm.decode.drafts import DraftedNode, SpanDrafter
from spacy_padellm.prompt.encoder import PromptEncoder
from spacy_padellm.prompt.template import TEMPLATES
from spacy_padellm.texts import Span, TokenizedText
from spacy_padellm.tree.token_tree import Place, Trie
from tests.sample_texts import cut_at_characters, cut_at_spaces, tokenized_texts
from tests.sample_tokenizers import WORDINGS, make_encoder, small_tokenizer


@cache
def encoder_of(longest: int) -> PromptEncoder:
    """longest: Longest mention, in tokens of the text."""
    tokenizer = small_tokenizer("en")
    return make_encoder(TEMPLATES["en"], WORDINGS["en"], tokenizer, max_mention_tokens=longest)


def draft_plain(drafter: SpanDrafter, nodes, live) -> list[list[DraftedNode]]:
    """Without text tags."""
    return drafter.draft(nodes, live, drafter.plain)


def build_trie(source: TokenizedText, longest: int) -> Trie[Span]:
    return encoder_of(longest).encode(source).trie


def spans_below(trie: Trie[Span], node: Place) -> list[Span]:
    found = list(trie.values(node))
    for child in trie.children(node).values():
        found += spans_below(trie, child)
    return found


def strings_drafted(source: TokenizedText, trie: Trie[Span], drafted) -> set[str]:
    """The longest strings that drafted nodes lead to at once."""
    nodes = {each.node for each in drafted}
    return {
        source.text[slice(*span)]
        for node in nodes
        for child in trie.children(node).values()
        for span in trie.values(child)
    }


def node_after(trie: Trie[Span], string: str, length: int = 1) -> int:
    ((*ids, _),) = encoder_of(1).mentions([string])
    node = trie.find(ids[:length])
    assert node is not None
    return node


def test_what_follows_the_first_token_is_drafted():
    source = cut_at_spaces("Anna met Bob in New York today .")
    trie = build_trie(source, 4)
    node = node_after(trie, "New York")
    (drafted,) = draft_plain(SpanDrafter(trie, source, 0.1), [node], [True])
    assert {"New", "New York"} <= strings_drafted(source, trie, drafted)
    assert drafted[0].parent == node
    known = {node}
    for parent, token_id, child in drafted:
        assert parent in known
        assert trie.children(parent)[token_id] == child
        known.add(child)


def test_mentions_stop_at_punctuation():
    source = cut_at_spaces("Rome , Paris and Lyon")
    trie = build_trie(source, 4)
    node = node_after(trie, "Rome")
    (drafted,) = draft_plain(SpanDrafter(trie, source, 0.35), [node], [True])
    assert strings_drafted(source, trie, drafted) == {"Rome"}
    (more,) = draft_plain(SpanDrafter(trie, source, 0.01), [node], [True])
    assert "Rome , Paris" in strings_drafted(source, trie, more)


def test_the_order_of_mentions_says_which_place_it_is():
    """`B` may be either; the mentions around it leave one."""
    source = cut_at_characters("Bxx-A-Byy-C-Bzz")
    trie = build_trie(source, 3)
    a, b, c = (node_after(trie, each) for each in "ABC")
    drafter = SpanDrafter(trie, source, 0.2)

    def drafted(*nodes: int) -> set[str]:
        drafts = draft_plain(drafter, nodes, [node == b for node in nodes])
        assert [bool(draft) for draft in drafts] == [node == b for node in nodes]
        return {
            string[:2]
            for string in strings_drafted(source, trie, drafts[nodes.index(b)])
            if len(string) > 1
        }

    assert drafted(a, b, c) == {"By"}
    assert drafted(b, a) == {"Bx"}
    assert drafted(c, b) == {"Bz"}
    assert drafted(b) == {"Bx", "By", "Bz"}


@given(tokenized_texts(), st.integers(1, 4), st.randoms(use_true_random=False))
def test_drafts_are_the_nodes_at_least_so_probable(source, longest, rng: random.Random):
    trie = build_trie(source, longest)
    inner = inner_places(trie, trie.start)
    if not inner:
        return
    nodes = sorted(rng.choices(inner, k=rng.randint(1, 4)))
    live = [rng.random() < 0.8 for _ in nodes]
    sets = []
    for threshold in (0.0, 0.05, 0.3, 1.0):
        drafts = draft_plain(SpanDrafter(trie, source, threshold), nodes, live)
        for node, draft, goes_on in zip(nodes, drafts, live, strict=True):
            assert goes_on or not draft
            below = set(spans_below(trie, node))
            for each in draft:
                # Never an end, nor where nothing else is left: nobody asks for those.
                assert not trie.is_leaf(each.node)
                children = trie.children(each.node).values()
                assert len(children) > 1 or not all(map(trie.is_leaf, children))
                assert set(spans_below(trie, each.node)) <= below
        sets.append([{each.node for each in draft} for draft in drafts])
    for more, fewer in pairwise(sets):
        assert all(b <= a for a, b in zip(more, fewer, strict=True))
    # At zero it is every node below.
    for node, everything, goes_on in zip(nodes, sets[0], live, strict=True):
        if goes_on:
            assert everything == asked_below(trie, node)


def inner_places(trie: Trie[Span], place: Place) -> list[Place]:
    below = [each for child in trie.children(place).values() for each in inner_places(trie, child)]
    return [place, *below] if trie.children(place) else []


def asked_below(trie: Trie[Span], node: Place) -> set[Place]:
    found = set()
    for child in trie.children(node).values():
        choices = trie.children(child).values()
        if len(choices) > 1 or any(not trie.is_leaf(c) for c in choices):
            found.add(child)
        found |= asked_below(trie, child)
    return found


def test_many_mentions_do_not_underflow():
    source = cut_at_characters("ab" * 200)
    trie = build_trie(source, 3)
    nodes = [node_after(trie, each) for each in "ba" * 40]
    with np.errstate(all="raise", under="ignore"):
        drafts = draft_plain(SpanDrafter(trie, source, 0.05), nodes, [True] * len(nodes))
    assert all(drafts)
