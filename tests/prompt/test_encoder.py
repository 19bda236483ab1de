from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_padellm.prompt.encoder import PromptEncoder
from spacy_padellm.prompt.template import TEMPLATES, PromptTemplate
from tests.sample_texts import mixed_texts, paper_texts
from tests.sample_tokenizers import (
    MAX_MENTIONS,
    TOKENIZERS,
    WORDINGS,
    added_tokens_tokenizer,
    decode,
    load_tokenizer,
    small_tokenizer,
    special_ids,
    stretch,
)


def tokenizer_of(encoder: PromptEncoder):
    return encoder._text.tokenizer


@settings(max_examples=100)
@given(text=mixed_texts)
def test_outside_the_text_ids_are_the_templates(any_encoder, text):
    before, ids = any_encoder.prefix(""), any_encoder.prefix(text)
    assert ids[: len(before)] == before
    within = ids[len(before) :]
    assert special_ids(tokenizer_of(any_encoder)).isdisjoint(within)
    assert stretch(tokenizer_of(any_encoder), before, within) == text


@settings(max_examples=60)
@given(text=mixed_texts, data=st.data())
def test_the_parts_of_a_sequence_decode_to_the_template(any_encoder, text, data):
    """Whatever is in the text and its mentions, the whole reads as the template writes it."""
    tokenizer = tokenizer_of(any_encoder)
    label = data.draw(st.sampled_from(sorted(any_encoder.wordings)))
    starts = data.draw(st.lists(st.integers(0, len(text)), max_size=2))
    mentions = [m for start in starts if (m := text[start : start + 9].strip())]
    bos = [tokenizer.bos_token_id] if tokenizer.bos_token_id != tokenizer.eos_token_id else []
    ids = any_encoder.prefix(text)
    if bos != [None]:
        assert ids[: len(bos)] == bos
        ids = ids[len(bos) :]
    ids = ids + any_encoder.branch(label) + any_encoder.count(len(mentions))
    endings = [
        any_encoder.opener(n) + any_encoder.mentions([mention])[0]
        for n, mention in enumerate(mentions, start=1)
    ]
    expected = any_encoder.template.render(
        text, any_encoder.wordings[label], mentions, tokenizer.eos_token
    )
    found = [decode(tokenizer, ids + ending) for ending in endings or [[]]]
    # Slow SentencePiece tokenizers decode a first word with the space before it.
    assert [sequence.removeprefix(" ") for sequence in found] == expected


def test_counts_and_mentions_end(any_encoder):
    end = tokenizer_of(any_encoder).eos_token_id
    assert any_encoder.end_id == end
    assert any_encoder.count(0)[-1] == end
    for count in range(1, 31):
        assert end not in any_encoder.count(count)
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
        encoder = PromptEncoder(TEMPLATES["en"], {"PER": "PER"}, tokenizer)
        # AutoTokenizer of transformers 5 reads a bare tokenizer.model without the leading space.
        (first,) = tokenizer("text", add_special_tokens=False).input_ids
        assert first == 1426 or name == "llama2-auto"
        assert encoder.prefix("") == [1, first, 29901, 13]
        assert encoder.branch("PER") == [
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
        assert encoder.count(0) == [29900, 2]
        assert encoder.count(12) == [29896, 29906, 13]
        assert encoder.opener(1) == [29966, 358, 291, 29871, 29896, 29958]
        assert encoder.mentions(["CHINA"]) == [[3210, 1177, 29909, 2]]


def test_ids_of_gpt_2(request):
    for name in ("gpt2", "gpt2-slow"):
        if name not in TOKENIZERS:
            continue
        encoder = PromptEncoder(TEMPLATES["en"], {"PER": "PER"}, load_tokenizer(name, request))
        assert encoder.prefix("Hello") == [5239, 25, 198, 15496]
        assert encoder.count(0) == [15, 50256]
        assert encoder.count(12) == [1065, 198]
        assert encoder.mentions(["Hello"]) == [[15496, 50256]]


@pytest.mark.parametrize("name", ["llama2", "gpt2"])
def test_real_sequences_are_tokenized_as_whole_strings_are(name, request, shared_data):
    """Part by part or all at once, the paper's sequences have the same ids. Mentions that begin
    with a punctuation mark are left out; whole strings merge it with the opener.
    """
    tokenizer = load_tokenizer(name, request)
    template, wording = TEMPLATES["en"], "PER"
    encoder = PromptEncoder(template, {wording: wording}, tokenizer)
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
            ours = encoder.prefix(text.text) + encoder.branch(wording)
            ours += encoder.count(len(mentions)) + encoder.opener(n)
            ours += encoder.mentions([mention])[0]
            assert ours == [tokenizer.bos_token_id] * (name == "llama2") + whole


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_pieces_of_the_template_are_one_token_of_a_trained_tokenizer(lang):
    tokenizer = small_tokenizer(lang)
    encoder = PromptEncoder(TEMPLATES[lang], WORDINGS[lang], tokenizer)
    bos = tokenizer.bos_token_id
    assert encoder.prefix("")[0] == bos
    assert len(encoder.prefix("")) == 2
    for label in WORDINGS[lang]:
        assert len(encoder.branch(label)) == 3
    for n in range(1, MAX_MENTIONS + 1):
        assert len(encoder.opener(n)) == 1
    assert len(encoder.count(0)) == len(encoder.count(1)) == 2
    assert len(encoder.count(12)) == 3


def test_own_wording():
    tokenizer = small_tokenizer("en")
    template = PromptTemplate("Read: {text} Which {label}? ", "; ", "[{n}]")
    encoder = PromptEncoder(template, {"X": "persons"}, tokenizer)
    ids = encoder.prefix("Anna") + encoder.branch("X") + encoder.count(3) + encoder.opener(2)
    assert decode(tokenizer, ids) == "<s>Read: Anna Which persons? 3; [2]"


@pytest.mark.parametrize(
    "wordings, code",
    [({"PER": "a\nb"}, "P008"), ({"P\nER": "a"}, "P008"), ({"PER": " "}, "P007")],
)
def test_labels_that_would_take_the_prompt_apart(wordings, code):
    with pytest.raises(ValueError, match=code):
        PromptEncoder(TEMPLATES["en"], wordings, small_tokenizer("en"))


def test_openers_beyond_the_first_stay_out_of_text():
    """Also where they were added to the tokenizer without being made special."""
    tokenizer = added_tokens_tokenizer()
    tokenizer.add_tokens(["<mention 1>", "<mention 2>", "<mention 12>"])
    encoder = PromptEncoder(TEMPLATES["en"], {"PER": "PER"}, tokenizer)
    text = "a <mention 2> b <mention 12>"
    for n in (1, 2, 12):
        (token,) = encoder.opener(n)
        assert token not in encoder.prefix(text)
    assert decode(tokenizer, encoder.prefix(text)).endswith(text)


def test_wordings_are_the_callers():
    wordings = {"PER": "person"}
    encoder = PromptEncoder(TEMPLATES["en"], wordings, small_tokenizer("en"))
    wordings["LOC"] = "place"
    assert encoder.wordings == {"PER": "person"}
