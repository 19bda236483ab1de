"""Decoders of texts, and whether two of them found the same."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import pytest
import torch

from spacy_padellm.decode.decoder import Decoder, ParallelDecoder
from spacy_padellm.decode.mentions import DecodedMention
from spacy_padellm.prompt.template import TEMPLATES
from spacy_padellm.settings import DecodingOptions, Settings
from spacy_padellm.texts import TokenizedText
from spacy_padellm.tree.causal_lm import CausalLM, TextTooLongError
from tests.sample_tokenizers import WORDINGS, make_encoder
from tests.tiny_models import random_lm

LIMITS = {"max_mentions": 4, "max_mention_tokens": 4}

Found = list[list[DecodedMention]]


def make_decoder(
    lm: CausalLM,
    lang: str = "en",
    *,
    labels: Mapping[str, str] | Sequence[str] | None = None,
    limits: Mapping[str, int] = LIMITS,
    softmax: str = "vocabulary",
    text_tags: bool = False,
    label_vectors: bool = False,
    others: Mapping[str, Any] | None = None,
    **options,
) -> ParallelDecoder:
    """labels: Labels and their wordings, or some of the sample's labels in any order.

    others: Further settings of the model.

    draft_threshold: By default one that does not depend on the device.
    """
    if not isinstance(labels, Mapping):
        labels = {label: WORDINGS[lang][label] for label in labels or WORDINGS[lang]}
    settings = Settings(
        TEMPLATES[lang],
        labels,
        softmax=softmax,
        text_tags=text_tags,
        label_vectors=label_vectors,
        **limits,
        **(others or {}),
    )
    encoder = make_encoder(TEMPLATES[lang], labels, lm.tokenizer, **limits)
    return ParallelDecoder(
        lm, encoder, settings, DecodingOptions(**{"draft_threshold": 0.07, **options})
    )


def sure_lm(family: str, prefix_attention: str, seed: int = 0, factor: float = 25.0) -> CausalLM:
    """A random model whose probabilities are near 0 and 1, so that tags decide something."""
    lm = random_lm(family, "en", prefix_attention, seed)
    model = copy.deepcopy(lm.model)
    head = model.get_output_embeddings()
    # Of its own, if it was also that of the embeddings.
    head.weight = torch.nn.Parameter(head.weight.detach() * factor)
    return CausalLM(
        model,
        lm.tokenizer,
        bidirectional_prefix=lm.bidirectional_prefix,
        support=lm.support,
    )


def decode(
    decoder: Decoder, texts: Sequence[TokenizedText], encoder: ParallelDecoder | None = None
) -> Found:
    """encoder: What encodes the texts, if not the decoder itself."""
    encode = (encoder or decoder).encoder.encode
    return decoder.decode([encode(text) for text in texts])


def outcome(*args) -> Found | type[TextTooLongError]:
    """What is found, or that a text is too long: then it has to be for all."""
    try:
        return decode(*args)
    except TextTooLongError:
        return TextTooLongError


def assert_same(found, expected, tolerance: float = 1e-5) -> None:
    """Mentions are the same, in the same order, and as probable."""
    if TextTooLongError in (found, expected):
        assert found is expected
        return
    kinds = [
        [[(m.label, m.places, m.log_prob is None, m.asked) for m in text] for text in each]
        for each in (found, expected)
    ]
    assert kinds[0] == kinds[1]
    for ours, theirs in zip(chain(*found), chain(*expected), strict=True):
        if theirs.log_prob is not None:
            assert ours.log_prob == pytest.approx(theirs.log_prob, abs=tolerance)
        assert (ours.tagged is None) is (theirs.tagged is None)
        if theirs.tagged is not None:
            assert ours.tagged == pytest.approx(theirs.tagged, abs=tolerance)
