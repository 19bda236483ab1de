from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from spacy_padellm.prompt.encoder import EncodedText, PromptEncoder
from spacy_padellm.prompt.template import TEMPLATES, PromptTemplate
from spacy_padellm.settings import Settings
from spacy_padellm.texts import TokenizedText
from spacy_padellm.tree.token_tree import Place, Trie
from tests.sample_texts import (
    CHINESE,
    ENGLISH,
    cut_at_characters,
    cut_at_spaces,
    mixed_texts,
    paper_texts,
    tokenized_texts,
)
from tests.sample_tokenizers import (
    MAX_MENTIONS,
    TOKENIZERS,
    WORDINGS,
    added_tokens_tokenizer,
    decode,
    load_tokenizer,
    lower_casing_tokenizer,
    make_encoder,
    small_tokenizer,
    special_ids,
    stretch,
)


def template_of(encoder: PromptEncoder) -> PromptTemplate:
    """The paper's template that goes with the encoder's labels."""
    return next(TEMPLATES[lang] for lang, labels in WORDINGS.items() if labels == encoder.labels)


def prefix(encoder: PromptEncoder, text: str) -> list[int]:
    return encoder.encode(TokenizedText(text, ())).prefix


@settings(max_examples=100)
@given(text=mixed_texts)
def test_outside_the_text_ids_are_the_templates(any_encoder, any_tokenizer, text):
    before = prefix(any_encoder, "")
    encoded = any_encoder.encode(TokenizedText(text, ()))
    assert encoded.prefix[: len(before)] == before
    within = encoded.prefix[len(before) :]
    assert encoded.length == len(within)
    assert special_ids(any_tokenizer).isdisjoint(within)
    assert stretch(any_tokenizer, before, within) == text


@settings(max_examples=60)
@given(text=mixed_texts, data=st.data())
def test_the_parts_of_a_sequence_decode_to_the_template(any_encoder, any_tokenizer, text, data):
    """Whatever is in the text and its mentions, the whole reads as the template writes it."""
    tokenizer = any_tokenizer
    label = data.draw(st.sampled_from(sorted(any_encoder.labels)))
    starts = data.draw(st.lists(st.integers(0, len(text)), max_size=2))
    mentions = [m for start in starts if (m := text[start : start + 9].strip())]
    bos = [tokenizer.bos_token_id] if tokenizer.bos_token_id != tokenizer.eos_token_id else []
    ids = prefix(any_encoder, text)
    if bos != [None]:
        assert ids[: len(bos)] == bos
        ids = ids[len(bos) :]
    ids = ids + any_encoder.branches[label] + any_encoder.count_ids[len(mentions)]
    endings = [
        any_encoder.openers[n] + any_encoder.mentions([mention])[0]
        for n, mention in enumerate(mentions, start=1)
    ]
    expected = template_of(any_encoder).render(
        text, any_encoder.labels[label], mentions, tokenizer.eos_token
    )
    found = [decode(tokenizer, ids + ending) for ending in endings or [[]]]
    # Slow SentencePiece tokenizers decode a first word with the space before it.
    assert [sequence.removeprefix(" ") for sequence in found] == expected


def test_counts_and_mentions_end(any_encoder, any_tokenizer):
    end = any_tokenizer.eos_token_id
    assert any_encoder.end_id == end
    assert len(any_encoder.count_ids) == 31
    assert any_encoder.count_ids[0][-1] == end
    for count in range(1, 31):
        assert end not in any_encoder.count_ids[count]
    for ids in any_encoder.mentions(["Anna", "Anna met Bob", "</s>", "常建良"]):
        assert ids.index(end) == len(ids) - 1


def test_a_mention_without_ids(any_encoder):
    assert any_encoder.mentions(["", "a"])[0] is None
    assert any_encoder.mentions(["", "a"])[1] is not None
    assert any_encoder.mentions([]) == []


# The released checkpoints were trained on these; 13 is Llama-2's line break.
def test_ids_of_llama_2(request):
    for name in ("llama2", "llama2-auto", "llama2-slow"):
        if name not in TOKENIZERS:
            continue
        tokenizer = load_tokenizer(name, request)
        encoder = make_encoder(TEMPLATES["en"], {"PER": "PER"}, tokenizer)
        # AutoTokenizer of transformers 5 reads a bare tokenizer.model without the leading space.
        (first,) = tokenizer("text", add_special_tokens=False).input_ids
        assert first == 1426 or name == "llama2-auto"
        assert prefix(encoder, "") == [1, first, 29901, 13]
        assert encoder.branches["PER"] == [
            13,
            10041,
            1134,
            29901,
            13,
            13171,
            13,
            13,
            29966,
            1949,
            29958,
        ]
        assert encoder.count_ids[0] == [29900, 2]
        assert encoder.count_ids[12] == [29896, 29906, 13]
        assert encoder.openers[1] == [29966, 358, 291, 29871, 29896, 29958]
        assert encoder.mentions(["CHINA"]) == [[3210, 1177, 29909, 2]]


def test_ids_of_gpt_2(request):
    for name in ("gpt2", "gpt2-slow"):
        if name not in TOKENIZERS:
            continue
        encoder = make_encoder(TEMPLATES["en"], {"PER": "PER"}, load_tokenizer(name, request))
        assert prefix(encoder, "Hello") == [5239, 25, 198, 15496]
        assert encoder.count_ids[0] == [15, 50256]
        assert encoder.count_ids[12] == [1065, 198]
        assert encoder.mentions(["Hello"]) == [[15496, 50256]]


@pytest.mark.parametrize("name", ["llama2", "gpt2"])
def test_real_sequences_are_tokenized_as_whole_strings_are(name, request, shared_data):
    """Part by part or all at once, the paper's sequences have the same ids. Mentions that begin
    with a punctuation mark are left out; whole strings merge it with the opener.
    """
    tokenizer = load_tokenizer(name, request)
    template, wording = TEMPLATES["en"], "PER"
    encoder = make_encoder(template, {wording: wording}, tokenizer)
    texts = paper_texts(shared_data, "conll03", 60)
    assert len(texts) == 60
    for text in texts:
        words = [text.text[start:end] for start, end in text.tokens]
        mentions = [word for word in words if word[0].isalnum()][:5]
        if not mentions:
            continue
        rendered = template.render(text.text, wording, mentions, tokenizer.eos_token)
        for n, (mention, sequence) in enumerate(zip(mentions, rendered, strict=True), start=1):
            whole = tokenizer(sequence, add_special_tokens=False).input_ids
            ours = encoder.encode(text).prefix + encoder.branches[wording]
            ours += encoder.count_ids[len(mentions)] + encoder.openers[n]
            ours += encoder.mentions([mention])[0]
            assert ours == [tokenizer.bos_token_id] * (name == "llama2") + whole


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_pieces_of_the_template_are_one_token_of_a_trained_tokenizer(lang):
    tokenizer = small_tokenizer(lang)
    encoder = make_encoder(TEMPLATES[lang], WORDINGS[lang], tokenizer)
    bos = tokenizer.bos_token_id
    assert prefix(encoder, "")[0] == bos
    assert len(prefix(encoder, "")) == 2
    for label in WORDINGS[lang]:
        assert len(encoder.branches[label]) == 3
        assert len(encoder.wordings[label]) == 1
    for n in range(1, MAX_MENTIONS + 1):
        assert len(encoder.openers[n]) == 1
    assert len(encoder.count_ids[0]) == len(encoder.count_ids[1]) == 2
    assert len(encoder.count_ids[12]) == 3


def test_own_wording():
    tokenizer = small_tokenizer("en")
    template = PromptTemplate("Read: {text} Which {label}? ", "; ", "[{n}]")
    encoder = make_encoder(template, {"X": "persons"}, tokenizer)
    ids = prefix(encoder, "Anna") + encoder.branches["X"]
    ids += encoder.count_ids[3] + encoder.openers[2]
    assert decode(tokenizer, ids) == "<s>Read: Anna Which persons? 3; [2]"


@pytest.mark.parametrize(
    "labels, code",
    [({"PER": "a\nb"}, "P008"), ({"P\nER": "a"}, "P008"), ({"PER": " "}, "P007")],
)
def test_labels_that_would_take_the_prompt_apart(labels, code):
    """Are refused before there is an encoder."""
    with pytest.raises(ValueError, match=code):
        Settings(TEMPLATES["en"], labels)


def test_openers_beyond_the_first_stay_out_of_text():
    """Also where they were added to the tokenizer without being made special."""
    tokenizer = added_tokens_tokenizer()
    tokenizer.add_tokens(["<mention 1>", "<mention 2>", "<mention 12>"])
    encoder = make_encoder(TEMPLATES["en"], {"PER": "PER"}, tokenizer)
    text = "a <mention 2> b <mention 12>"
    for n in (1, 2, 12):
        (token,) = encoder.openers[n]
        assert token not in prefix(encoder, text)
    assert decode(tokenizer, prefix(encoder, text)).endswith(text)


def test_labels_are_the_callers():
    labels = {"PER": "person"}
    encoder = make_encoder(TEMPLATES["en"], labels, small_tokenizer("en"))
    labels["LOC"] = "place"
    assert encoder.labels == {"PER": "person"}
    assert set(encoder.wordings) == set(encoder.branches) == {"PER"}


@settings(max_examples=40)
@given(output=mixed_texts)
def test_an_output_ends_and_reads_as_it_was_written(any_encoder, any_tokenizer, output):
    *ids, end = any_encoder.encode_output(output)
    assert end == any_encoder.end_id
    assert special_ids(any_tokenizer).isdisjoint(ids)
    assert any_encoder.decode(ids) == output


def test_special_tokens_in_wording_mean_themselves(any_encoder, any_tokenizer):
    assert any_encoder.encode_wording(any_tokenizer.eos_token) == [any_encoder.end_id]
    assert any_encoder.end_id not in any_encoder.encode_output(any_tokenizer.eos_token)[:-1]


@given(source=tokenized_texts(), labels=st.sets(st.sampled_from(sorted(WORDINGS["en"]))))
def test_the_most_tokens_before_a_mention(source, labels):
    encoder = make_encoder(TEMPLATES["en"], WORDINGS["en"], small_tokenizer("en"), max_mentions=11)
    text = encoder.encode(source)
    depths = [
        len(text.prefix + branch + count + opener)
        for branch in [encoder.branches[label] for label in labels] or [[]]
        for count in encoder.count_ids
        for opener in encoder.openers.values()
    ]
    assert encoder.depth_before_mentions(text, labels) == max(depths)


def test_the_text_has_marks_and_a_mention_has_none():
    tokenizer = lower_casing_tokenizer()
    tokenizer.add_tokens(["<capitalized>", "<capitals>"], special_tokens=True)
    marks = tokenizer.convert_tokens_to_ids(["<capitalized>", "<capitals>"])
    template = PromptTemplate(
        "in {text} in {label} in", capitalized="<capitalized>", all_capitals="<capitals>"
    )
    encoder = make_encoder(template, {"PARIS": "Paris"}, tokenizer)
    (paris,) = encoder.mentions(["paris"])
    assert encoder.mentions(["Paris", "PARIS"]) == [paris, paris]
    before = prefix(encoder, "")
    assert prefix(encoder, "Paris") == [*before, marks[0], *paris[:-1]]
    assert prefix(encoder, "PARIS") == [*before, marks[1], *paris[:-1]]
    assert not set(marks) & set(encoder.branches["PARIS"])
    # A text that spells a mark has none.
    assert not set(marks) & set(prefix(encoder, "<capitals> <capitalized>"))


# Encoded texts


@pytest.fixture(scope="session")
def encoder_with(any_tokenizer: PreTrainedTokenizerBase) -> Callable[[int], PromptEncoder]:
    """Encoders of every tokenizer, by the longest mention."""

    @cache
    def make(longest: int) -> PromptEncoder:
        labels = WORDINGS["en"]
        return make_encoder(TEMPLATES["en"], labels, any_tokenizer, max_mention_tokens=longest)

    return make


@given(source=tokenized_texts())
def test_an_encoded_text_is_the_text(any_encoder, any_tokenizer, source):
    text = any_encoder.encode(source)
    assert (text.text, text.tokens) == (source.text, source.tokens)
    assert text.encoder is any_encoder
    assert text.stretch(0, len(source.text)) == source.stretch(0, len(source.text))
    assert any_encoder.has_offsets == any_tokenizer.is_fast
    if not any_encoder.has_offsets:
        assert text.offsets is None
        return
    assert len(text.offsets) == text.length
    assert text.offsets == sorted(text.offsets)


def without_offsets(text: EncodedText) -> EncodedText:
    """The same, as of a tokenizer that does not say where its ids are."""
    return replace(text, offsets=None)


# Cut where no id reaches over a cut.
CUT = [*map(cut_at_spaces, [*ENGLISH, CHINESE[2]]), *map(TokenizedText.split, CHINESE[:2])]


@pytest.mark.parametrize("source", CUT, ids=range(len(CUT)))
def test_ids_before_a_token_of_the_text(any_encoder, any_tokenizer, source):
    """Are those of the text up to there, with offsets and without."""
    text = any_encoder.encode(source)
    ends = [end for _, end in source.tokens]
    found = text.ids_before(ends)
    assert list(found) == ends
    assert found == without_offsets(text).ids_before(ends)
    before = text.prefix[: len(text.prefix) - text.length]
    for bound, count in found.items():
        ids = text.prefix[len(before) : len(before) + count]
        assert stretch(any_tokenizer, before, ids) == source.text[:bound]


@settings(max_examples=100)
@given(text=mixed_texts, place=st.integers(0, 40))
def test_ids_before_any_character(any_encoder, text, place):
    """Where an id is cut through, what is read first may have other ids: then fewer are found."""
    place = min(place, len(text))
    encoded = any_encoder.encode(TokenizedText(text, ()))
    whole = encoded.ids_before([0, place, len(text)])
    read = without_offsets(encoded).ids_before([0, place, len(text)])
    assert whole[0] == read[0] == 0
    assert whole[len(text)] == read[len(text)] == encoded.length
    assert 0 <= read[place] <= whole[place] <= encoded.length
    if encoded.offsets is not None:
        assert whole[place] == sum(end <= place for _, end in encoded.offsets)


@pytest.mark.parametrize("name", [n for n in ("llama2", "gpt2") if f"{n}-slow" in TOKENIZERS])
@pytest.mark.parametrize("source", CUT, ids=range(len(CUT)))
def test_fast_and_slow_tokenizers_agree(name, source, request):
    fast, slow = (
        make_encoder(TEMPLATES["en"], WORDINGS["en"], load_tokenizer(each, request)).encode(source)
        for each in (name, f"{name}-slow")
    )
    assert fast.offsets is not None and slow.offsets is None
    assert (fast.prefix, fast.length) == (slow.prefix, slow.length)
    ends = [end for _, end in source.tokens]
    assert fast.ids_before(ends) == slow.ids_before(ends)


def test_ids_before_a_word_with_a_mark():
    tokenizer = lower_casing_tokenizer()
    tokenizer.add_tokens(["<capitalized>"], special_tokens=True)
    template = PromptTemplate("in {text} in {label} in", capitalized="<capitalized>")
    encoder = make_encoder(template, {"PER": "paris"}, tokenizer)
    text = encoder.encode(cut_at_spaces("in Paris in"))
    assert text.length == 4
    # Before "Paris" there is not even its mark.
    expected = {0: 0, 2: 1, 3: 1, 8: 3, 11: 4}
    assert text.ids_before(expected) == without_offsets(text).ids_before(expected) == expected


SOURCES = [*map(cut_at_spaces, ENGLISH), *map(cut_at_characters, CHINESE)]


def content(trie: Trie) -> dict[tuple[int, ...], list]:
    """Every way through a trie from its start to a leaf, and what is there."""
    found: dict[tuple[int, ...], list] = {}

    def walk(place: Place, ids: tuple[int, ...]) -> None:
        if trie.is_leaf(place):
            found[ids] = trie.values(place)
        for token_id, child in trie.children(place).items():
            walk(child, (*ids, token_id))

    walk(trie.start, ())
    # Values are at leaves only.
    assert len(trie) == sum(map(len, found.values()))
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


def assert_trie_is_training(encoder: PromptEncoder, source: TokenizedText) -> None:
    """The ids training uses for a span lead to a leaf with that span, and no others lead on."""
    text = encoder.encode(source)
    assert text.spans == naive_spans(source, encoder.max_mention_tokens)
    expected: dict[tuple[int, ...], list[tuple[int, int]]] = {}
    for start, end in text.spans:
        (ids,) = encoder.mentions([source.text[start:end]])
        if ids is not None:
            expected.setdefault(tuple(ids), []).append((start, end))
    assert content(text.trie) == expected
    assert text.trie.depth == max(map(len, expected), default=0)
    # Once for all that ask for it.
    assert text.trie is text.trie


@settings(max_examples=120)
@given(source=tokenized_texts(), longest=st.integers(1, 6))
def test_trie_of_any_text(encoder_with, source, longest):
    assert_trie_is_training(encoder_with(longest), source)


@pytest.mark.parametrize("source", SOURCES, ids=range(len(SOURCES)))
def test_trie_of_english_and_chinese(encoder_with, source):
    assert_trie_is_training(encoder_with(8), source)


@pytest.mark.parametrize("name", ["conll03", "genia", "resume", "weibo", "youku"])
def test_trie_of_real_texts(encoder_with, name, shared_data):
    texts = paper_texts(shared_data, name, 8)
    assert len(texts) == 8
    for source in texts:
        assert_trie_is_training(encoder_with(8), source)


@settings(max_examples=40)
@given(source=tokenized_texts())
def test_a_node_says_which_values_are_below_it(encoder_with, source):
    trie = encoder_with(4).encode(source).trie

    def walk(place: Place) -> list[tuple[int, int]]:
        children = trie.children(place).values()
        below = trie.values(place) + [span for child in children for span in walk(child)]
        assert below == trie.ordered[place.first : place.end]
        return below

    assert walk(trie.start) == trie.ordered


def test_paths_read_as_the_mentions_they_stand_for(encoder_with, any_tokenizer):
    text = encoder_with(4).encode(cut_at_spaces(ENGLISH[1]))
    trie = content(text.trie)
    for ids, spans in trie.items():
        assert ids[-1] == any_tokenizer.eos_token_id
        written = any_tokenizer.decode(list(ids[:-1]), clean_up_tokenization_spaces=False).strip()
        assert {text.text[start:end] for start, end in spans} == {written}
    assert len(trie) == len(text.spans)  # no word stands there twice


def test_a_string_in_several_places_is_one_path():
    encoder = make_encoder(TEMPLATES["en"], {}, small_tokenizer("en"), max_mention_tokens=1)
    trie = encoder.encode(cut_at_spaces("Bob met Anna , Anna met Bob")).trie
    (anna, bob) = encoder.mentions(["Anna", "Bob"])
    assert trie.values(trie.find(anna)) == [(8, 12), (15, 19)]
    assert trie.values(trie.find(bob)) == [(0, 3), (24, 27)]


def test_strings_a_tokenizer_cannot_tell_apart_share_a_path():
    encoder = make_encoder(TEMPLATES["en"], {}, lower_casing_tokenizer(), max_mention_tokens=1)
    text = encoder.encode(cut_at_spaces("PARIS in Paris \u200d"))
    assert content(text.trie) == {(7, 2): [(0, 5), (9, 14)], (8, 2): [(6, 8)]}


def test_spans_begin_and_end_on_boundaries_and_not_with_a_space():
    source = TokenizedText("New  York\n!", ((0, 3), (4, 5), (5, 9), (9, 10), (10, 11)))

    def spans(longest: int) -> list[str]:
        tokenizer = small_tokenizer("en")
        encoder = make_encoder(TEMPLATES["en"], {}, tokenizer, max_mention_tokens=longest)
        return [source.text[start:end] for start, end in encoder.encode(source).spans]

    assert spans(5) == ["New", "New  York", "New  York\n!", "York", "York\n!", "!"]
    # A whitespace token counts.
    assert spans(2) == ["New", "York", "!"]


@pytest.mark.parametrize("text", ["", " ", " \n\t"])
def test_nothing_to_point_at(text):
    encoder = make_encoder(TEMPLATES["en"], {}, small_tokenizer("en"), max_mention_tokens=5)
    for source in (TokenizedText(text, ()), cut_at_characters(text)):
        trie = encoder.encode(source).trie
        assert (trie.ordered, trie.children(trie.start), trie.depth) == ([], {}, 0)


def assert_counts(encoder: PromptEncoder, most: int) -> None:
    expected = {(*encoder.encode_wording("0"), encoder.end_id): [0]}
    for count in range(1, most + 1):
        expected[(*encoder.encode_wording(str(count)), *encoder.count_end)] = [count]
    assert len(expected) == most + 1
    assert content(encoder.counts) == expected
    assert encoder.counts.depth == max(map(len, expected))
    assert [tuple(ids) for ids in encoder.count_ids] == list(expected)
    assert list(encoder.openers) == list(range(1, most + 1))


@pytest.mark.parametrize("most", [1, 9, 10, 30, 120])
def test_counts(any_tokenizer, most):
    assert_counts(make_encoder(TEMPLATES["en"], {}, any_tokenizer, max_mentions=most), most)


def test_counts_with_a_wording_of_several_tokens():
    template = PromptTemplate("{text}{label}", "; and then: ")
    assert_counts(make_encoder(template, {}, small_tokenizer("en"), max_mentions=12), 12)
