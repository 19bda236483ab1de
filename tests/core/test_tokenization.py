from __future__ import annotations

import pytest
from hypothesis import given, settings
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from spacy_padellm.core.tokenization import TextEncoder

from .sample_texts import CHINESE, ENGLISH, NASTY, mixed_texts
from .sample_tokenizers import small_tokenizer, stretch


def special_ids(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    added = tokenizer.added_tokens_decoder.items()
    return {i for i, token in added if token.special} | set(tokenizer.all_special_ids)


@settings(max_examples=150)
@given(text=mixed_texts)
def test_text_stays_text(any_tokenizer, text):
    encoder = encoder_of(any_tokenizer)
    (ids,) = encoder.encode([text])
    assert special_ids(any_tokenizer).isdisjoint(ids)
    before = encoder.encode_wording("text:\n")
    if "▁" in text and "llama" in type(any_tokenizer).__name__.lower() + str(any_tokenizer):
        text = text.replace("▁", " ")
    assert stretch(any_tokenizer, before, ids) == text
