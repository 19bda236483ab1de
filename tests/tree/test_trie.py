from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_padellm.prompt.encoder import PromptEncoder
from spacy_padellm.prompt.template import TEMPLATES, PromptTemplate
from spacy_padellm.texts import TokenizedText
from spacy_padellm.tree.trie import (
    Trie,
    admissible_spans,
    build_count_trie,
    build_source_trie,
)
from tests.sample_texts import (
    CHINESE,
    ENGLISH,
    cut_at_characters,
    cut_at_spaces,
    paper_texts,
    tokenized_texts,
)
from tests.sample_tokenizers import (
    TOKENIZERS,
    WORDINGS,
    load_tokenizer,
    lower_casing_tokenizer,
    small_tokenizer,
)


@pytest.fixture(scope="session", params=TOKENIZERS)
def encoder(request) -> PromptEncoder:
    tokenizer = load_tokenizer(request.param, request)
    return PromptEncoder(TEMPLATES["en"], WORDINGS["en"], tokenizer)


def content(trie: Trie) -> dict[tuple[int, ...], list]:
    """Every way through a trie from its start to a leaf, and what is there."""
    found: dict[tuple[int, ...], list] = {}

    def walk(node: int, ids: tuple[int, ...]) -> None:
        if not trie.children[node]:
            found[ids] = trie.values[node]
        for token_id, child in trie.children[node].items():
            walk(child, (*ids, token_id))

    if trie.values:
        walk(trie.START, ())
    # Values are at leaves only.
    assert sum(map(len, trie.values.values())) == sum(map(len, found.values()))
    return found


def naive_spans(source: TokenizedText, longest: int) -> list[tuple[int, int]]:
    """The offsets, from first to last, that begin and end on boundaries and not with a space."""
    return [
        (first[0], last[1])
        for i, first in enumerate(source.tokens)
        for j, last in enumerate(source.tokens)
        if i <= j < i + longest
        and source.text[slice(*first)].strip()
        and source.text[slice(*last)].strip()
    ]


def assert_trie_is_training(encoder: PromptEncoder, source: TokenizedText, longest: int) -> None:
    """The ids training uses for a span lead to a leaf with that span, and no others lead on."""
    expected: dict[tuple[int, ...], list[tuple[int, int]]] = {}
    for start, end in naive_spans(source, longest):
        (ids,) = encoder.mentions([source.text[start:end]])
        if ids is not None:
            expected.setdefault(tuple(ids), []).append((start, end))
    trie = build_source_trie(encoder, source, longest)
    assert content(trie) == expected
    assert trie.depth == max(map(len, expected), default=0)


@settings(max_examples=120)
@given(source=tokenized_texts(), longest=st.integers(1, 6))
def test_source_trie_of_any_text(encoder, source, longest):
    assert_trie_is_training(encoder, source, longest)


@pytest.mark.parametrize("source", [cut_at_spaces(t) for t in ENGLISH], ids=range(len(ENGLISH)))
def test_source_trie_of_english(encoder, source):
    assert_trie_is_training(encoder, source, 8)


@pytest.mark.parametrize("source", [cut_at_characters(t) for t in CHINESE], ids=range(len(CHINESE)))
def test_source_trie_of_chinese(encoder, source):
    assert_trie_is_training(encoder, source, 8)


@pytest.mark.parametrize("name", ["conll03", "genia", "resume", "weibo", "youku"])
def test_source_trie_of_real_texts(encoder, name, shared_data):
    texts = paper_texts(shared_data, name, 8)
    assert len(texts) == 8
    for source in texts:
        assert_trie_is_training(encoder, source, 8)


def test_paths_read_as_the_mentions_they_stand_for(encoder):
    source = cut_at_spaces(ENGLISH[1])
    tokenizer = encoder._text.tokenizer
    trie = content(build_source_trie(encoder, source, 4))
    for ids, spans in trie.items():
        assert ids[-1] == encoder.end_id
        written = tokenizer.decode(list(ids[:-1]), clean_up_tokenization_spaces=False).strip()
        assert {source.text[start:end] for start, end in spans} == {written}
    assert len(trie) == len(admissible_spans(source, 4))  # no word stands there twice


def test_a_string_in_several_places_is_one_path():
    encoder = PromptEncoder(TEMPLATES["en"], {}, small_tokenizer("en"))
    source = cut_at_spaces("Bob met Anna , Anna met Bob")
    trie = build_source_trie(encoder, source, 1)
    (anna, bob) = encoder.mentions(["Anna", "Bob"])
    assert trie.values[trie.find(anna)] == [(8, 12), (15, 19)]
    assert trie.values[trie.find(bob)] == [(0, 3), (24, 27)]


def test_strings_a_tokenizer_cannot_tell_apart_share_a_path():
    encoder = PromptEncoder(TEMPLATES["en"], {}, lower_casing_tokenizer())
    trie = build_source_trie(encoder, cut_at_spaces("PARIS in Paris \u200d"), 1)
    assert content(trie) == {(7, 2): [(0, 5), (9, 14)], (8, 2): [(6, 8)]}


def test_spans_begin_and_end_on_boundaries_and_not_with_a_space():
    text = "New  York\n!"
    source = TokenizedText(text, ((0, 3), (4, 5), (5, 9), (9, 10), (10, 11)))
    spans = [text[start:end] for start, end in admissible_spans(source, 5)]
    assert spans == ["New", "New  York", "New  York\n!", "York", "York\n!", "!"]
    # A whitespace token counts.
    spans = [text[start:end] for start, end in admissible_spans(source, 2)]
    assert spans == ["New", "York", "!"]


@pytest.mark.parametrize("text", ["", " ", " \n\t"])
def test_nothing_to_point_at(text):
    encoder = PromptEncoder(TEMPLATES["en"], {}, small_tokenizer("en"))
    for source in (TokenizedText(text, ()), cut_at_characters(text)):
        trie = build_source_trie(encoder, source, 5)
        assert (trie.values, trie.depth) == ({}, 0)


@pytest.mark.parametrize("most", [1, 9, 10, 30, 120])
def test_counts(encoder, most):
    trie = build_count_trie(encoder, most)
    expected = {tuple(encoder.count(count)): [count] for count in range(most + 1)}
    assert len(expected) == most + 1
    assert content(trie) == expected
    assert trie.depth == max(map(len, expected))


def test_counts_with_a_wording_of_several_tokens():
    template = PromptTemplate("{text}{label}", "; and then: ")
    encoder = PromptEncoder(template, {}, small_tokenizer("en"))
    trie = build_count_trie(encoder, 12)
    assert content(trie) == {tuple(encoder.count(count)): [count] for count in range(13)}


@given(st.lists(st.lists(st.integers(0, 2), max_size=4), max_size=10))
def test_sequences_are_found_and_nothing_else(sequences):
    trie: Trie[int] = Trie()
    for value, sequence in enumerate(sequences):
        trie.insert([*sequence, 9], value)
    for sequence in sequences:
        expected = [value for value, other in enumerate(sequences) if other == sequence]
        assert trie.values[trie.find([*sequence, 9])] == expected
    beginnings = {tuple(s[:i]) for s in sequences for i in range(len(s) + 1)} | {()}
    for beginning in beginnings:
        node = trie.find(beginning)
        follow = {s[len(beginning)] for s in map(tuple, sequences) if _continues(s, beginning)}
        follow |= {9} if list(beginning) in sequences else set()
        assert set(trie.children[node]) == follow
        assert trie.find([*beginning, 5]) is None
        assert trie.find([*beginning, 5, 1]) is None
    assert trie.depth == max((len(s) + 1 for s in sequences), default=0)


def _continues(sequence: tuple[int, ...], beginning: tuple[int, ...]) -> bool:
    return len(sequence) > len(beginning) and sequence[: len(beginning)] == beginning


@pytest.mark.parametrize("name", ["small-en", "gpt2"])
def test_only_what_training_needs(name, request):
    """Continuations of what begins with the ids given, and all beginnings."""
    encoder = PromptEncoder(TEMPLATES["en"], {"PER": "PER"}, load_tokenizer(name, request))
    source = cut_at_spaces("Anna met Bob in New York , Anna met Bob Hill .")
    full = build_source_trie(encoder, source, 4)
    for mention in ("Anna", "New York", "Bob Hill", "Bob"):
        (ids,) = encoder.mentions([mention])
        part = build_source_trie(encoder, source, 4, whole={ids[0]})
        assert len(part.children) < len(full.children)
        for place in range(len(ids)):
            assert set(part.continuations(ids[:place])) == set(full.continuations(ids[:place]))
    with pytest.raises(KeyError):
        full.continuations([-1])
