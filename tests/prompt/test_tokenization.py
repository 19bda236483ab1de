from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from spacy_padellm.checkpoints.files import BUNDLED_FOLDER
from spacy_padellm.prompt.tokenization import CaseMarks, Encodings, TextEncoder, join_encodings
from spacy_padellm.settings import BUNDLED_MODEL
from spacy_padellm.texts import Span
from tests.sample_texts import CHINESE, ENGLISH, NASTY, mixed_texts
from tests.sample_tokenizers import (
    TOKENIZERS,
    added_tokens_tokenizer,
    decode,
    load_tokenizer,
    lower_casing_tokenizer,
    small_tokenizer,
    special_ids,
    stretch,
)


def ids_of(encoder: TextEncoder, texts: Sequence[str]) -> list[list[int]]:
    return encoder.encode(texts).ids


@pytest.fixture(scope="session")
def encoder(any_tokenizer: PreTrainedTokenizerBase) -> TextEncoder:
    return TextEncoder(any_tokenizer)


@settings(max_examples=150)
@given(text=mixed_texts)
def test_text_decodes_to_itself_and_holds_no_special_token(encoder, text):
    (ids,) = ids_of(encoder, [text])
    assert special_ids(encoder.tokenizer).isdisjoint(ids)
    assert stretch(encoder.tokenizer, encoder.encode_wording("x:\n"), ids) == text


@pytest.mark.parametrize("text", NASTY)
def test_what_spells_a_special_token_is_text(encoder, text):
    (ids,) = ids_of(encoder, [f"a{text}b"])
    assert special_ids(encoder.tokenizer).isdisjoint(ids)
    assert decode(encoder.tokenizer, ids).removeprefix(" ") == f"a{text}b"


def test_texts_are_encoded_one_by_one(encoder):
    texts = [*ENGLISH, *CHINESE, *NASTY, ""]
    assert ids_of(encoder, texts) == [encoder.encode([text]).ids[0] for text in texts]
    assert encoder.encode([]) == Encodings([])
    assert encoder.encode([""]) == Encodings([[]])


@settings(max_examples=100)
@given(text=mixed_texts)
def test_ids_are_told_where_they_are(encoder, text):
    (ids,), told = encoder.encode([text], with_offsets=True)
    assert [ids] == ids_of(encoder, [text])
    assert (told is not None) == encoder.has_offsets == encoder.tokenizer.is_fast
    if told is None:
        return
    (offsets,) = told
    assert len(offsets) == len(ids)
    assert offsets == sorted(offsets)
    assert all(0 <= start < end <= len(text) for start, end in offsets)
    covered = {place for start, end in offsets for place in range(start, end)}
    assert covered >= {place for place, letter in enumerate(text) if not letter.isspace()}


def test_where_ids_are_of_what_spells_a_special_token(encoder):
    if not encoder.has_offsets:
        pytest.skip("a slow tokenizer")
    for text in NASTY:
        (ids,), (offsets,) = encoder.encode([f"a{text}b"], with_offsets=True)
        assert [ids] == ids_of(encoder, [f"a{text}b"])
        assert offsets == sorted(offsets) and offsets[-1][1] == len(text) + 2


def test_offsets_are_told_only_where_they_are_asked_for(encoder):
    assert encoder.encode(["Anna", "</s>"]).offsets is None


def assert_stretches_are_encoded_alone(encoder: TextEncoder, text: str, data: st.DataObject):
    places = st.integers(0, len(text) - 1)
    starts = data.draw(st.lists(places, unique=True, max_size=6))
    ends = [
        sorted(data.draw(st.sets(st.integers(start + 1, len(text)), min_size=1, max_size=6)))
        for start in starts
    ]
    found = encoder.encode_stretches(text, starts, ends)
    for start, of_start, ids in zip(starts, ends, found, strict=True):
        assert ids == ids_of(encoder, [text[start:end] for end in of_start])


@settings(max_examples=100)
@given(text=mixed_texts.filter(bool), data=st.data())
def test_stretches_of_a_text_have_the_ids_that_they_have_alone(encoder, text, data):
    assert_stretches_are_encoded_alone(encoder, text, data)


# What a normalizer drops, joins, takes apart or sets apart.
ODD = ["\u200d", "\u0301", "e\u0301", "\u00e9", "\u0130", "\uac00", "\u4e2d"]
ODD += ["\x00", "\t", "\u00df", "\u03a3"]


@settings(max_examples=300)
@given(
    text=st.one_of(
        mixed_texts.filter(bool),
        st.lists(
            st.sampled_from([*ODD, "Ada", "un", "##a", "[SEP]", "'s", " ", "-"]), min_size=1
        ).map("".join),
    ),
    data=st.data(),
)
def test_so_have_stretches_of_the_bundled_models_tokenizer(text, data):
    """It encodes a text once for all."""
    assert bundled_encoder()._is_wordwise
    assert_stretches_are_encoded_alone(bundled_encoder(), text, data)


@cache
def bundled_encoder() -> TextEncoder:
    folder = BUNDLED_FOLDER / BUNDLED_MODEL
    return TextEncoder(PreTrainedTokenizerFast.from_pretrained(folder))


def test_ids_of_llama_2(request):
    """Those of a piece in mid-sequence: without the space SentencePiece puts before a text."""
    for name in ("llama2", "llama2-auto", "llama2-slow"):
        if name not in TOKENIZERS:
            continue
        encoder = TextEncoder(load_tokenizer(name, request))
        assert encoder.bos_ids == [1]
        assert encoder.end_id == 2
        assert ids_of(encoder, ["JAPAN", " JAPAN", "你好", "\n\n", "</s>"]) == [
            [29967, 3301, 2190],
            [435, 3301, 2190],
            [30919, 31076],
            [13, 13],
            [829, 29879, 29958],
        ]
        assert encoder.encode_wording("</s>") == [2]


def test_ids_of_gpt_2(request):
    for name in ("gpt2", "gpt2-slow"):
        if name not in TOKENIZERS:
            continue
        encoder = TextEncoder(load_tokenizer(name, request))
        # Its one special token both begins and ends; models never saw it before a text.
        assert encoder.bos_ids == []
        assert encoder.end_id == 50256
        assert ids_of(encoder, ["Hello", " Hello", "\n\n", "<|endoftext|>"]) == [
            [15496],
            [18435],
            [628],
            [27, 91, 437, 1659, 5239, 91, 29],
        ]
        assert encoder.encode_wording("<|endoftext|>") == [50256]


def test_special_tokens_in_wording_mean_themselves():
    tokenizer = small_tokenizer("en")
    encoder = TextEncoder(tokenizer)
    tokens = [*encoder.encode_wording("</s><mention 12>PER ORG")]
    assert tokenizer.convert_ids_to_tokens(tokens) == ["</s>", "<mention 12>", "PER", "Ġ", "ORG"]


def test_settings_of_the_callers_tokenizer_do_not_matter():
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(small_tokenizer("en").backend_tokenizer.to_str()),
        eos_token="</s>",
        pad_token="<pad>",
    )
    before = TextEncoder(tokenizer).encode(["Anna met Bob", "Anna"])
    tokenizer.backend_tokenizer.enable_truncation(3)
    tokenizer.backend_tokenizer.enable_padding(length=40)
    assert TextEncoder(tokenizer).encode(["Anna met Bob", "Anna"]) == before
    # Nor does the encoder change them.
    assert tokenizer.backend_tokenizer.encode("Anna met Bob").ids[3:] == [0] * 37
    tokenizer.backend_tokenizer.no_truncation()
    tokenizer.backend_tokenizer.no_padding()
    assert tokenizer("</s>").input_ids == [tokenizer.eos_token_id]


def test_added_tokens_of_the_template_stay_out_of_text():
    encoder = TextEncoder(added_tokens_tokenizer())
    encoder.reserve(["\n\n<num>", "[DNA]"])
    num, dna, paris = encoder.tokenizer.convert_tokens_to_ids(["<num>", "[DNA]", "Paris"])
    assert encoder.encode_wording("<num>") == [num]
    assert encoder.encode_wording("[DNA]") == [dna]
    (ids,) = ids_of(encoder, ["Paris <num>5 [DNA]"])
    assert {num, dna}.isdisjoint(ids)
    assert decode(encoder.tokenizer, ids) == "Paris <num>5 [DNA]"
    # Another one is a word like any other.
    assert ids[0] == paris


def test_added_tokens_that_overlap_or_are_a_single_character():
    """A line break cannot be told from the template's, and need not be."""
    encoder = TextEncoder(added_tokens_tokenizer())
    encoder.reserve(["\n\n<num>", "\n"])
    one, two = encoder.tokenizer.convert_tokens_to_ids(["\n", "\n\n"])
    assert encoder.encode_wording("\n\n") == [two]
    for text in ("a\n\nb", "\n\n\n", "\n\n\n\n<num><num>"):
        (ids,) = ids_of(encoder, [text])
        assert ids.count(one) == text.count("\n")
        assert decode(encoder.tokenizer, ids) == text


def test_added_tokens_that_are_found_in_any_case():
    tokenizer = lower_casing_tokenizer()
    tokenizer.add_tokens([AddedToken("[DNA]", normalized=True)])
    encoder = TextEncoder(tokenizer)
    encoder.reserve(["[DNA]"])
    (dna,) = encoder.encode_wording("[DNA]")
    assert tokenizer("[dna]", add_special_tokens=False).input_ids == [dna]
    for text in ("[DNA]", "[dna]", "[Dna] in"):
        assert dna not in encoder.encode([text]).ids[0]


def test_no_end_token():
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    )
    with pytest.raises(ValueError, match=r"P010.*the model has no end token.*add_special_tokens"):
        TextEncoder(tokenizer)


def test_a_special_token_that_is_a_letter_of_text():
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE({"a": 0, "#": 1}, [])), eos_token="#"
    )
    encoder = TextEncoder(tokenizer)
    assert ids_of(encoder, ["aa"]) == [[0, 0]]
    with pytest.raises(ValueError, match=r"P011.*'a#a'.*longer than one character"):
        encoder.encode(["a#a"])


def test_a_lower_casing_tokenizer():
    encoder = TextEncoder(lower_casing_tokenizer())
    assert ids_of(encoder, ["Paris", "PARIS [SEP]", "[sep]", "[CLS]in"]) == [
        [7],
        [7, 3, 6, 4],
        [3, 6, 4],
        [3, 5, 4, 8],
    ]
    assert encoder.encode_wording("[SEP]in") == [2, 8]


def test_what_the_tokenizer_does_not_know_is_unknown():
    encoder = TextEncoder(lower_casing_tokenizer())
    assert ids_of(encoder, ["Rome", "paris Rome"]) == [[0], [7, 0]]


def test_what_normalisation_leaves_nothing_of_has_no_ids():
    encoder = TextEncoder(lower_casing_tokenizer())
    assert ids_of(encoder, ["\u200d", "", " ", "in"]) == [[], [], [], [8]]


def test_an_end_token_that_also_stands_for_the_unknown():
    """Then a text the tokenizer does not know has no ids that could be told from an end."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE({"a": 0, "</s>": 1}, [], unk_token="</s>")),
        eos_token="</s>",
        unk_token="</s>",
    )
    encoder = TextEncoder(tokenizer)
    assert ids_of(encoder, ["aa"]) == [[0, 0]]
    with pytest.raises(ValueError, match=r"P011.*'a人'"):
        encoder.encode(["a人"])


def test_text_that_begins_with_a_line_break():
    """Where line breaks merge, and a space would be put before a piece alone."""
    vocabulary = {token: i for i, token in enumerate(["▁", "\n", "\n\n", ":", "a", "e"])}
    backend = Tokenizer(models.BPE(vocabulary, [("\n", "\n")]))
    backend.normalizer = normalizers.Prepend("▁")
    encoder = TextEncoder(PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="e"))
    assert ids_of(encoder, ["a", "\na", "\n\na"]) == [[4], [1, 4], [2, 4]]


def test_a_tokenizer_whose_line_breaks_and_colons_merge():
    """Then a piece is encoded on its own."""
    vocabulary = {token: i for i, token in enumerate(["\n", ":", "a", "\na", ":a", "e"])}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE(vocabulary, [("\n", "a"), (":", "a")])),
        eos_token="e",
    )
    assert ids_of(TextEncoder(tokenizer), ["a", "aa", ":a"]) == [[2], [2, 2], [4]]


# Case marks

CAPITALIZED, ALL_CAPITALS = 1001, 1002
MARKS = CaseMarks((CAPITALIZED,), (ALL_CAPITALS,))


@pytest.fixture(scope="module")
def lower() -> TextEncoder:
    return TextEncoder(lower_casing_tokenizer())


def encode_marked(
    encoder: TextEncoder, text: str, marks: CaseMarks = MARKS
) -> tuple[list[int], list[Span] | None]:
    """A text's ids, with marks, as a prompt encoder takes them."""
    pieces = list(marks.cut(text))
    encoded = encoder.encode([piece for _, piece in pieces], with_offsets=True)
    return join_encodings(pieces, encoded)


@pytest.mark.parametrize(
    "word, mark",
    [
        ("paris", ()),
        ("Paris", (CAPITALIZED,)),
        ("McDonald", (CAPITALIZED,)),
        ("A", (CAPITALIZED,)),
        ("PARIS", (ALL_CAPITALS,)),
        ("COVID19", (ALL_CAPITALS,)),
        ("iPhone", ()),
        ("2nd", ()),
        ("A4", (CAPITALIZED,)),
        ("42", ()),
        ("Élan", (CAPITALIZED,)),
        ("李涛", ()),
    ],
)
def test_the_mark_of_a_word(word, mark):
    assert list(MARKS.cut(word)) == [(mark, word)]


def test_a_text_is_cut_where_marks_stand():
    assert list(MARKS.cut("in Paris, in-NATO's")) == [
        ((), "in "),
        ((CAPITALIZED,), "Paris, in-"),
        ((ALL_CAPITALS,), "NATO's"),
    ]
    assert list(MARKS.cut("")) == [((), "")]


@given(text=mixed_texts, marks=st.sampled_from([MARKS, CaseMarks((1,)), CaseMarks((), (2, 3))]))
def test_the_pieces_are_the_text(text, marks):
    mark, *marked = [mark for mark, _ in marks.cut(text)]
    assert "".join(piece for _, piece in marks.cut(text)) == text
    assert all(marked) and mark in ((), marks.capitalized, marks.all_capitals)


@given(text=mixed_texts)
def test_without_marks_a_text_is_one_piece(text):
    assert list(CaseMarks().cut(text)) == [((), text)]


def test_marks_stand_before_their_words(lower):
    whole, paris, inside = ids_of(lower, ["paris in paris", "paris", " in "])
    texts = ["Paris in PARIS", "paris in paris", "in", "", "PARIS"]
    assert [encode_marked(lower, text)[0] for text in texts] == [
        [CAPITALIZED, *paris, *inside, ALL_CAPITALS, *paris],
        whole,
        inside,
        [],
        [ALL_CAPITALS, *paris],
    ]


def test_one_mark_may_do_for_both(lower):
    ids = encode_marked(lower, "PARIS", CaseMarks((CAPITALIZED,)))[0]
    assert ids[0] == CAPITALIZED
    ids = encode_marked(lower, "Paris", CaseMarks((), (ALL_CAPITALS,)))[0]
    assert [ids] == ids_of(lower, ["paris"])


@given(text=st.text(alphabet="aAéÉ1 -_.İ李", max_size=12))
def test_without_its_marks_a_text_is_as_ever(lower, text):
    ids = encode_marked(lower, text)[0]
    assert [[i for i in ids if i < CAPITALIZED]] == ids_of(lower, [text])


@given(text=st.text(alphabet="aAéÉ1 -_.李", max_size=12))
def test_marks_are_told_where_they_are(lower, text):
    ids, offsets = encode_marked(lower, text)
    assert len(ids) == len(offsets) and offsets == sorted(offsets)
    for token_id, (start, _) in zip(ids, offsets, strict=True):
        begins_word = text[start].isalnum() and not text[max(start - 1, 0) : start].isalnum()
        assert begins_word or token_id < CAPITALIZED


@given(text=st.text(alphabet="aA1 -.", max_size=12), place=st.integers(0, 12))
def test_what_is_read_first_has_the_same_ids_alone(lower, text, place):
    """Where a word ends."""
    if not text[place : place + 1].isalnum():
        start = encode_marked(lower, text[:place])[0]
        assert encode_marked(lower, text)[0][: len(start)] == start


def test_pieces_without_offsets_have_none_together():
    pieces = [((), "ab"), ((5,), "c")]
    assert join_encodings(pieces, Encodings([[7], [8]])) == ([7, 5, 8], None)
