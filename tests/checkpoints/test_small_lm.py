from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_padellm.checkpoints.small_lm import SmallModelShape, build_small_lm, train_tokenizer
from spacy_padellm.prompt.template import TEMPLATES
from spacy_padellm.prompt.tokenization import TextEncoder
from spacy_padellm.texts import TokenizedText
from tests.sample_texts import CHINESE, ENGLISH, NASTY
from tests.sample_tokenizers import WORDINGS, decode, make_encoder, small_tokenizer

SHAPE = SmallModelShape(width=16, depth=2, heads=2, feed_forward=24, max_positions=64)
ENCODERS = {lang: TextEncoder(small_tokenizer(lang)) for lang in ("en", "zh")}


@settings(max_examples=300)
@given(lang=st.sampled_from(["en", "zh"]), text=st.text(max_size=40))
def test_the_tokenizer_loses_nothing(lang, text):
    (ids,) = ENCODERS[lang].encode([text]).ids
    assert decode(small_tokenizer(lang), ids) == text


@settings(max_examples=100)
@given(lang=st.sampled_from(["en", "zh"]), pieces=st.lists(st.sampled_from(NASTY) | st.text()))
def test_nor_does_it_lose_what_spells_the_template(lang, pieces):
    text = "".join(pieces)
    (ids,) = ENCODERS[lang].encode([text]).ids
    assert decode(small_tokenizer(lang), ids) == text


PIECES = [*re.findall(r"[A-Za-z]+|\S|\s", " ".join([*ENGLISH, *CHINESE])), "\n", "é", "ß"]
LETTERS = re.compile("[A-Za-zéß]+")


@given(drawn=st.lists(st.sampled_from(PIECES), min_size=1, max_size=20), data=st.data())
def test_a_mention_has_the_same_ids_wherever_it_stands(drawn, data):
    """Cut anywhere but within a word; each ideograph, digit and mark stands alone."""
    pieces = drawn[:1]
    for piece in drawn[1:]:
        if LETTERS.fullmatch(pieces[-1]) and LETTERS.fullmatch(piece):
            pieces.append(" ")
        pieces.append(piece)
    start = data.draw(st.integers(0, len(pieces)))
    end = data.draw(st.integers(start, len(pieces)))
    parts = ["".join(p) for p in (pieces[:start], pieces[start:end], pieces[end:])]
    for encoder in ENCODERS.values():
        before, mention, after = encoder.encode(parts).ids
        (whole,) = encoder.encode(["".join(parts)]).ids
        assert whole == before + mention + after


@pytest.mark.parametrize("wording", ["A", "é", "Ġ", "1", "人", "PER", "Anna"])
def test_labels_may_be_named_by_what_is_in_the_text(wording):
    """A letter, too, which the alphabet has a token for."""
    texts = ["A man from 人 é 1 , PER and Anna met Anna and A"] * 3
    tokenizer = train_tokenizer(texts, TEMPLATES["en"], [wording], 3, 400)
    encoder = make_encoder(TEMPLATES["en"], {"LABEL": wording}, tokenizer)
    for text in [texts[0], wording, f"{wording}{wording} {wording}", "中é文"]:
        ids = encoder.encode(TokenizedText.split(text)).prefix
        assert decode(tokenizer, ids) == f"<s>text:\n{text}"
        (mention,) = encoder.mentions([text])
        assert decode(tokenizer, mention) == f"{text}</s>"
    branch = decode(tokenizer, encoder.branches["LABEL"])
    assert branch == f"\nentity type:\n{wording}\n\n<num>"


def test_the_vocabulary_is_no_larger_than_asked_for():
    for size in (400, 500):
        tokenizer = train_tokenizer(ENGLISH * 9, TEMPLATES["en"], ["PER"], 12, size)
        assert len(tokenizer) <= size
    # But it has every byte and every piece of the template.
    tokenizer = train_tokenizer([], TEMPLATES["en"], ["PER"], 12, 10)
    (ids,) = TextEncoder(tokenizer).encode(["任何 text"]).ids
    assert decode(tokenizer, ids) == "任何 text"
    assert len(tokenizer) == 3 + 4 + 12 + 1 + 256


def test_the_model_has_the_shape_asked_for():
    lm = build_small_lm(small_tokenizer("en"), SHAPE, bidirectional_prefix=True)
    config = lm.model.config
    assert (config.hidden_size, config.intermediate_size) == (16, 24)
    assert (config.num_hidden_layers, config.num_attention_heads) == (2, 2)
    assert config.vocab_size == len(lm.tokenizer)
    assert (config.bos_token_id, config.eos_token_id) == (
        lm.tokenizer.bos_token_id,
        lm.tokenizer.eos_token_id,
    )
    assert lm.max_depth == 64
    assert lm.bidirectional_prefix
    assert lm.support.way == "cached"
    assert not lm.model.training
    assert lm.model.get_input_embeddings().weight is lm.model.get_output_embeddings().weight


def test_weights_come_from_torchs_random_state():
    models = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        lm = build_small_lm(small_tokenizer("en"), SHAPE, bidirectional_prefix=False)
        models.append(lm.model)
    weights = [model.get_input_embeddings().weight for model in models]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_each_piece_of_the_template_is_one_token(lang):
    tokenizer, template = small_tokenizer(lang), TEMPLATES[lang]
    pieces = [template.before_text, template.before_label, template.before_count]
    pieces += [template.count_end, template.opener(1), template.opener(12), "</s>"]
    for piece in [*pieces, *WORDINGS[lang].values()]:
        assert ENCODERS[lang].encode_wording(piece) == [tokenizer.convert_tokens_to_ids(piece)]
