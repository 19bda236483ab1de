"""Tiny SentencePiece models, trained on the spot."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from io import BytesIO
from typing import Any

from sentencepiece import SentencePieceTrainer

from spacy_padellm.prompt.template import TEMPLATES
from tests.sample_texts import CHINESE, ENGLISH


def train(texts: Iterable[str], **settings: Any) -> bytes:
    """The contents of a `tokenizer.model`."""
    model = BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        minloglevel=2,
        **{
            "model_type": "bpe",
            "byte_fallback": True,
            "normalization_rule_name": "identity",
            "hard_vocab_limit": False,
            **settings,
        },
    )
    return model.getvalue()


@cache
def baichuan_model() -> bytes:
    """One with Baichuan2's settings: no space before a text, spaces as they are, digits apart,
    line breaks (token 5) and runs of spaces as user-defined symbols.
    """
    template = TEMPLATES["zh"]
    wording = [template.before_text, template.before_label, template.before_count]
    return train(
        ENGLISH + CHINESE + 4 * wording,
        vocab_size=460,
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        split_digits=True,
        control_symbols=["<SEP>", "<CLS>"],
        user_defined_symbols=["\n", "\t", "▁▁", "▁▁▁▁", "<reserved_106>"],
    )
