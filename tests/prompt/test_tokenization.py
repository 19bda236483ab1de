from __future__ import annotations

import pytest
from hypothesis import given, settings
from tokenizers import AddedToken, Tokenizer, models, normalizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from spacy_padellm.prompt.tokenization import TextEncoder
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


@pytest.fixture(scope="session")
def encoder(any_tokenizer: PreTrainedTokenizerBase) -> TextEncoder:
    return TextEncoder(any_tokenizer)


@settings(max_examples=150)
@given(text=mixed_texts)
def test_text_decodes_to_itself_and_holds_no_special_token(encoder, text):
    (ids,) = encoder.encode([text])
    assert special_ids(encoder.tokenizer).isdisjoint(ids)
    assert stretch(encoder.tokenizer, encoder.encode_wording("x:\n"), ids) == text


@pytest.mark.parametrize("text", NASTY)
def test_what_spells_a_special_token_is_text(encoder, text):
    (ids,) = encoder.encode([f"a{text}b"])
    assert special_ids(encoder.tokenizer).isdisjoint(ids)
    assert decode(encoder.tokenizer, ids).removeprefix(" ") == f"a{text}b"


def test_texts_are_encoded_one_by_one(encoder):
    texts = [*ENGLISH, *CHINESE, *NASTY, ""]
    assert encoder.encode(texts) == [encoder.encode([text])[0] for text in texts]
    assert encoder.encode([]) == []
    assert encoder.encode([""]) == [[]]


@settings(max_examples=100)
@given(text=mixed_texts)
def test_ids_are_told_where_they_are(encoder, text):
    if not encoder.has_offsets:
        return
    ids, offsets = encoder.encode_with_offsets(text)
    assert [ids] == encoder.encode([text])
    assert len(offsets) == len(ids)
    assert offsets == sorted(offsets)
    assert all(0 <= start < end <= len(text) for start, end in offsets)
    covered = {place for start, end in offsets for place in range(start, end)}
    assert covered >= {place for place, letter in enumerate(text) if not letter.isspace()}


def test_where_ids_are_of_what_spells_a_special_token(encoder):
    if not encoder.has_offsets:
        pytest.skip("a slow tokenizer")
    for text in NASTY:
        ids, offsets = encoder.encode_with_offsets(f"a{text}b")
        assert [ids] == encoder.encode([f"a{text}b"])
        assert offsets == sorted(offsets) and offsets[-1][1] == len(text) + 2


def test_ids_of_llama_2(request):
    """Those of a piece in mid-sequence: without the space SentencePiece puts before a text."""
    for name in ("llama2", "llama2-auto", "llama2-slow"):
        if name not in TOKENIZERS:
            continue
        encoder = TextEncoder(load_tokenizer(name, request))
        assert encoder.bos_ids == [1]
        assert encoder.end_id == 2
        assert encoder.encode(["JAPAN", " JAPAN", "你好", "\n\n", "</s>"]) == [
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
        assert encoder.encode(["Hello", " Hello", "\n\n", "<|endoftext|>"]) == [
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
    (ids,) = encoder.encode(["Paris <num>5 [DNA]"])
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
        (ids,) = encoder.encode([text])
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
        assert dna not in encoder.encode([text])[0]


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
    assert encoder.encode(["aa"]) == [[0, 0]]
    with pytest.raises(ValueError, match=r"P011.*'a#a'.*longer than one character"):
        encoder.encode(["a#a"])


def test_a_lower_casing_tokenizer():
    encoder = TextEncoder(lower_casing_tokenizer())
    assert encoder.encode(["Paris", "PARIS [SEP]", "[sep]", "[CLS]in"]) == [
        [7],
        [7, 3, 6, 4],
        [3, 6, 4],
        [3, 5, 4, 8],
    ]
    assert encoder.encode_wording("[SEP]in") == [2, 8]


def test_what_the_tokenizer_does_not_know_is_unknown():
    encoder = TextEncoder(lower_casing_tokenizer())
    assert encoder.encode(["Rome", "paris Rome"]) == [[0], [7, 0]]


def test_what_normalisation_leaves_nothing_of_has_no_ids():
    encoder = TextEncoder(lower_casing_tokenizer())
    assert encoder.encode(["\u200d", "", " ", "in"]) == [[], [], [], [8]]


def test_an_end_token_that_also_stands_for_the_unknown():
    """Then a text the tokenizer does not know has no ids that could be told from an end."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE({"a": 0, "</s>": 1}, [], unk_token="</s>")),
        eos_token="</s>",
        unk_token="</s>",
    )
    encoder = TextEncoder(tokenizer)
    assert encoder.encode(["aa"]) == [[0, 0]]
    with pytest.raises(ValueError, match=r"P011.*'a人'"):
        encoder.encode(["a人"])


def test_text_that_begins_with_a_line_break():
    """Where line breaks merge, and a space would be put before a piece alone."""
    vocabulary = {token: i for i, token in enumerate(["▁", "\n", "\n\n", ":", "a", "e"])}
    backend = Tokenizer(models.BPE(vocabulary, [("\n", "\n")]))
    backend.normalizer = normalizers.Prepend("▁")
    encoder = TextEncoder(PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="e"))
    assert encoder.encode(["a", "\na", "\n\na"]) == [[4], [1, 4], [2, 4]]


def test_a_tokenizer_whose_line_breaks_and_colons_merge():
    """Then a piece is encoded on its own."""
    vocabulary = {token: i for i, token in enumerate(["\n", ":", "a", "\na", ":a", "e"])}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE(vocabulary, [("\n", "a"), (":", "a")])),
        eos_token="e",
    )
    assert TextEncoder(tokenizer).encode(["a", "aa", ":a"]) == [[2], [2, 2], [4]]
