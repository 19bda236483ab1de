"""The state of a text while it is written, without a model: whoever chooses is scripted."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import ByT5Tokenizer

from spacy_padellm.decode.state import Choice, TextState
from spacy_padellm.decode.tags import TextTags
from spacy_padellm.prompt.encoder import EncodedText, PromptEncoder
from spacy_padellm.prompt.template import TEMPLATES
from spacy_padellm.settings import DecodingOptions
from spacy_padellm.texts import TokenizedText
from spacy_padellm.tree.token_tree import ROOT
from tests.sample_texts import cut_at_spaces, tokenized_texts
from tests.sample_tokenizers import WORDINGS, make_encoder, small_tokenizer

PLAIN = DecodingOptions(draft_threshold=None)
# Which id follows a node, and its log-probability.
Choose = Callable[[TextState, int, Sequence[int]], Choice]


@cache
def byte_encoder(max_mentions: int = 12) -> PromptEncoder:
    """Each character is an id."""
    return make_encoder(TEMPLATES["en"], {"A": "A", "B": "B"}, ByT5Tokenizer(), max_mentions, 1)


def open_state(
    text: EncodedText,
    labels: Sequence[str],
    options: DecodingOptions,
    tags: TextTags | None = None,
) -> TextState:
    state = TextState(text, options.open_counts)
    state.open(labels, options.draft_threshold, tags)
    return state


def state_of(
    labels: Sequence[str] = ("A",), max_mentions: int = 12, options: DecodingOptions = PLAIN
) -> TextState:
    """Of a text whose mentions are

    a - END            0
      - b - c - END    2, 6
          - d - END    10
    e - f - END        14
    """
    text = byte_encoder(max_mentions).encode(cut_at_spaces("a abc abc abd ef"))
    return open_state(text, labels, options)


def ids_of(characters: str) -> list[int]:
    return [byte_encoder().encode_wording(character)[0] for character in characters]


END = byte_encoder().end_id


def write(state: TextState, *chosen: tuple[int, float]) -> list[list[int]]:
    """Write the one sequence there is, one token a pass.

    Returns what there was to choose from.
    """
    asked = []
    for token_id, log_prob in chosen:
        ((node, ids),) = state.propose().items()
        asked.append(ids)
        state.advance({node: Choice(token_id, log_prob)})
    return asked


def test_a_scored_walk():
    state = state_of()
    one, end, a, b, c, d, e = ids_of("1\nabcde")
    asked = write(state, (one, -9.0), (end, -9.0), (a, -0.5), (b, -0.25), (c, -0.125))
    assert sorted(asked[0]) == ids_of("0123456789")
    assert sorted(asked[1]) == sorted(ids_of("\n012"))
    assert asked[2:] == [[a, e], [END, b], [c, d]]
    # The end follows without an alternative, and has no part in the score, nor has the count.
    assert state.propose() == {}
    (mention,) = state.mentions()
    assert (mention.label, mention.places) == ("A", ((2, 5), (6, 9)))
    assert (mention.log_prob, mention.tagged) == (-0.875, None)


def test_an_end_that_was_chosen_has_no_part_in_the_score():
    state = state_of()
    one, end, a = ids_of("1\na")
    write(state, (one, 0.0), (end, 0.0), (a, -0.5), (END, -7.0))
    assert state.propose() == {}
    (mention,) = state.mentions()
    assert (mention.places, mention.log_prob) == (((0, 1),), -0.5)


def test_a_token_without_alternative_is_scored():
    state = state_of()
    one, end, e, f = ids_of("1\nef")
    asked = write(state, (one, 0.0), (end, 0.0), (e, -0.5), (f, -0.25))
    assert asked[-1] == [f]
    assert state.propose() == {}
    (mention,) = state.mentions()
    assert (mention.places, mention.log_prob) == (((14, 16),), -0.75)


def test_a_count_that_has_no_alternative_is_taken_at_once():
    """Counts are not scored, so nobody asks."""
    state = state_of(max_mentions=1)
    zero, one, a, e = ids_of("01ae")
    asked = write(state, (one, -3.0))
    assert sorted(asked[0]) == [zero, one]
    ((_, ids),) = state.propose().items()
    assert ids == [a, e]
    none = state_of(max_mentions=1)
    write(none, (zero, 0.0))
    assert none.propose() == {}
    assert list(none.mentions()) == []


def test_a_count_of_two_digits():
    state = state_of()
    one, two = ids_of("12")
    write(state, (one, 0.0), (two, 0.0))
    # Its end follows, as there is no higher one.
    assert len(state.propose()) == 12


def test_what_may_not_come_cannot_be_written():
    state = state_of()
    one, end, b = ids_of("1\nb")
    with pytest.raises(KeyError):
        write(state, (one, 0.0), (end, 0.0), (b, 0.0))


def test_the_papers_steps_follow_each_other_without_drafts():
    """No mention is opened before all labels are counted."""
    state = state_of(labels=("A", "B"))
    one, two, end = ids_of("12\n")
    first, second = state.propose()
    state.advance({first: Choice(two, 0.0), second: Choice(one, 0.0)})
    ((waiting, ids),) = state.propose().items()
    assert end in ids
    state.advance({waiting: Choice(end, 0.0)})
    assert len(state.propose()) == 3


def test_with_drafts_a_label_does_not_wait_for_another():
    state = state_of(labels=("A", "B"), options=DecodingOptions(draft_threshold=1.0))
    zero, one = ids_of("01")
    first, second = state.propose()
    state.advance({first: Choice(zero, 0.0), second: Choice(one, 0.0)})
    # A number's end is foreseen: its mention is opened with it.
    end, a, e = ids_of("\nae")
    count, mention = state.propose().values()
    assert end in count
    assert mention == [a, e]


def test_a_draft_that_was_wrong_is_not_kept():
    """It stays in the tree, but is not counted."""
    options = DecodingOptions(draft_threshold=1.0, open_counts=(2,))
    state, plain = state_of(options=options), state_of()
    (zero,) = ids_of("0")
    proposed = state.propose()
    assert len(proposed) == 3  # the count, whose end goes without saying, and two mentions
    state.advance({node: Choice(min(ids), 0.0) for node, ids in proposed.items()})
    write(plain, (zero, 0.0))
    assert state.propose() == {}
    assert list(state.mentions()) == list(plain.mentions()) == []
    assert state.count_kept() == plain.count_kept() == len(plain.tree)
    assert len(state.tree) > len(plain.tree)


def test_counts_to_open_beyond_the_most_mentions_open_nothing():
    options = DecodingOptions(draft_threshold=1.0, open_counts=(13, 99))
    assert state_of(options=options).propose() == state_of().propose()


def write_all(state: TextState, choose: Choose) -> int:
    """Write everything, and count the passes."""
    passes = size = 0
    seen: set[int] = set()
    while proposed := state.propose():
        assert seen.isdisjoint(proposed)
        # New ones: a pass gives logits of what it runs only.
        assert min(proposed) >= size
        seen.update(proposed)
        size = len(state.tree)
        state.advance({node: choose(state, node, ids) for node, ids in proposed.items()})
        passes += 1
    return passes


def choose_by(seed: int) -> Choose:
    """A model that knows nothing but what was written, and always chooses the same."""

    def choose(state: TextState, node: int, ids: Sequence[int]) -> Choice:
        key = repr((seed, state.tree.sequence(node))).encode()
        number = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big")
        return Choice(sorted(ids)[number % len(ids)], -(number % 1000) / 1000)

    return choose


@cache
def small_encoder() -> PromptEncoder:
    return make_encoder(TEMPLATES["en"], WORDINGS["en"], small_tokenizer("en"), 12, 4)


def mentions_of(state: TextState) -> list[tuple]:
    return [(m.label, m.places, pytest.approx(m.log_prob)) for m in state.mentions()]


@settings(max_examples=60)
@given(
    text=tokenized_texts(),
    seed=st.integers(0, 99),
    threshold=st.floats(0, 1),
    open_counts=st.lists(st.integers(1, 15), max_size=3).map(tuple),
    is_bytes=st.booleans(),
)
def test_drafts_change_nothing_of_what_is_written(
    text: TokenizedText, seed: int, threshold: float, open_counts: tuple[int, ...], is_bytes: bool
):
    encoder = byte_encoder() if is_bytes else small_encoder()
    encoded = encoder.encode(text)
    if not len(encoded.trie):
        return
    plain, drafting = (
        open_state(encoded, list(encoder.labels), options)
        for options in (PLAIN, DecodingOptions(draft_threshold=threshold, open_counts=open_counts))
    )
    passes = write_all(plain, choose_by(seed))
    assert write_all(drafting, choose_by(seed)) <= passes
    assert mentions_of(drafting) == mentions_of(plain)
    assert drafting.count_kept() == plain.count_kept() == len(plain.tree)
    for state in (plain, drafting):
        before = encoder.depth_before_mentions(encoded, encoder.labels)
        assert max(state.tree.depths) < before + encoded.trie.depth - 1
        assert state.tree.prefix_length == len(encoded.prefix)
        assert all(parent != ROOT for parent in state.tree.parents[1:])


@settings(max_examples=60)
@given(
    data=st.data(),
    text=tokenized_texts(),
    seed=st.integers(0, 99),
    threshold=st.sampled_from([0.0, 0.07, 0.5, 1.0]),
)
def test_tags_change_nothing_of_what_is_written(
    data: st.DataObject, text: TokenizedText, seed: int, threshold: float
):
    """Whatever they say, and if they stand for more mentions than may be written."""
    encoder = small_encoder()
    encoded = encoder.encode(text)
    if not len(encoded.trie):
        return
    names = list(encoder.labels)
    share = st.sampled_from([0.0, 0.02, 0.5, 0.98, 1.0])
    size = len(text.tokens)
    inside = np.array(data.draw(st.lists(share, min_size=size, max_size=size)))
    begins = np.array(data.draw(st.lists(share, min_size=size, max_size=size)))
    # Each label has what those before it leave, and none the rest.
    shares = np.stack([inside * (1 - inside) ** n for n in range(len(names))], axis=1)
    probs = np.concatenate([shares, 1 - shares.sum(axis=1, keepdims=True)], axis=1)
    longest = encoder.max_mention_tokens
    tags = TextTags(text, names, text.tokens, probs, begins, longest)
    plain = open_state(encoded, names, PLAIN)
    drafting = open_state(encoded, names, DecodingOptions(draft_threshold=threshold), tags)
    passes = write_all(plain, choose_by(seed))
    assert write_all(drafting, choose_by(seed)) <= passes
    assert mentions_of(drafting) == mentions_of(plain)
    assert drafting.count_kept() == plain.count_kept()


def test_mentions_that_tags_name_take_one_pass():
    text = byte_encoder().encode(cut_at_spaces("a abc abc abd ef"))
    inside = np.array([[0.98, 0.01, 0.01], *[[0.01, 0.01, 0.98]] * 3, [0.97, 0.01, 0.02]])
    tags = TextTags(text, "AB", text.tokens, inside, np.array([0.9, 0, 0, 0, 0.9]), 1)
    state = open_state(text, ["A", "B"], DecodingOptions(draft_threshold=0.5), tags)
    zero, two, a, e, f, end = ids_of("02aef\n")
    following = {zero: -1, two: end, a: END, e: f, f: END}

    def choose(state: TextState, node: int, ids: Sequence[int]) -> Choice:
        token_id = state.tree.ids[node]
        if token_id in following and following[token_id] in ids:
            return Choice(following[token_id], -0.5)
        if zero in ids:
            # Label B is the last branch.
            return Choice(zero if node > first_b else two, 0.0)
        return Choice(a if openers.index(node) == 0 else e, -0.5)

    proposed = state.propose()
    counts = sorted(node for node, ids in proposed.items() if zero in ids and end not in ids)
    first_b = counts[0]
    openers = sorted(node for node, ids in proposed.items() if set(ids) == {a, e})
    size = len(state.tree)
    state.advance({node: choose(state, node, ids) for node, ids in proposed.items()})
    assert state.propose() == {}
    assert [m.places for m in state.mentions()] == [((0, 1),), ((14, 16),)]
    assert state.count_kept() == size == len(state.tree)


@given(text=tokenized_texts(), seed=st.integers(0, 99))
def test_what_is_written_is_what_was_chosen(text: TokenizedText, seed: int):
    """Each mention, taken by itself: its label, its count, its number, its tokens."""
    encoder = small_encoder()
    encoded = encoder.encode(text)
    if not len(encoded.trie):
        return
    state = open_state(encoded, list(encoder.labels), PLAIN)
    chosen: dict[tuple[int, ...], Choice] = {}

    def choose(state: TextState, node: int, ids: Sequence[int]) -> Choice:
        choice = choose_by(seed)(state, node, ids)
        chosen[tuple(state.tree.sequence(node))] = choice
        return choice

    write_all(state, choose)
    mentions = list(state.mentions())
    for label in encoder.labels:
        start = [*encoded.prefix, *encoder.branches[label]]
        of_label = [m for m in mentions if m.label == label]
        count = encoder.count_ids[len(of_label)]
        assert follows(chosen, start, count)
        for n, mention in enumerate(of_label, start=1):
            (ids,) = encoder.mentions([text.text[slice(*mention.places[0])]])
            assert ids is not None
            opened = [*start, *count, *encoder.openers[n]]
            total = follows(chosen, opened, ids)
            assert mention.log_prob == pytest.approx(sum(total))
            node = encoded.trie.find(ids)
            assert node is not None
            assert list(mention.places) == encoded.trie.values(node)


def follows(
    chosen: Mapping[tuple[int, ...], Choice], start: Sequence[int], ids: Sequence[int]
) -> list[float]:
    """Check that ids were written after others, and give the log-probabilities of all but the end.

    Where nobody was asked there was no alternative.
    """
    log_probs = [0.0]
    for place, token_id in enumerate(ids):
        choice = chosen.get((*start, *ids[:place]))
        assert choice is None or choice.token_id == token_id
        if place < len(ids) - 1:
            log_probs.append(math.nan if choice is None else choice.log_prob)
    return log_probs
