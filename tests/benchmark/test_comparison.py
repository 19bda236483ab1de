from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from spacy_padellm.benchmark import comparison
from spacy_padellm.benchmark.comparison import (
    MALFORMED_COUNT,
    NOT_ADMISSIBLE,
    TOO_MANY,
    Agreement,
    compare_decoders,
    has_cache,
)
from spacy_padellm.decode.mentions import DecodedMention
from spacy_padellm.model import PaDeLLM
from spacy_padellm.prompt.template import TEMPLATES
from spacy_padellm.settings import Settings
from spacy_padellm.texts import TokenizedText
from spacy_padellm.tree.run import TreeSupport
from tests.sample_texts import TEXTS as RANDOM_TEXTS
from tests.sample_tokenizers import WORDINGS
from tests.tiny_models import random_lm
from tests.trained import LIMITS, TEXTS, trained_lm

SOURCES = [text.source for text in TEXTS]


def test_a_trained_model_writes_the_same_in_every_way():
    result = compare_decoders(PaDeLLM(*trained_lm()), SOURCES)
    assert (result.texts, result.same_as_plain) == (8, 8)
    assert list(result.walks) == ["sequences", "batch"]
    for agreement in result.walks.values():
        assert agreement.same == 8
        assert agreement.largest_difference < 1e-4
    assert not result.reasons


@pytest.mark.parametrize("output_format", ["augmented", "structured"])
def test_an_output_format_is_decoded_in_one_way(output_format):
    lm, settings = trained_lm()
    settings = replace(settings, output_format=output_format)
    with pytest.raises(ValueError, match=rf"P038.*'{output_format}'.*Use a checkpoint"):
        compare_decoders(PaDeLLM(lm, settings), SOURCES)


def test_a_random_model_needs_the_tries():
    lm = random_lm("llama", "en", "causal", 1)
    settings = Settings(TEMPLATES["en"], WORDINGS["en"], **LIMITS)
    result = compare_decoders(PaDeLLM(lm, settings), RANDOM_TEXTS["en"])
    assert (result.texts, result.same_as_plain) == (4, 0)
    for agreement in result.walks.values():
        assert agreement.same == 4
        assert 0 < agreement.largest_difference < 1e-4
    assert result.reasons == {MALFORMED_COUNT: 4}


def test_mentions_cut_through_a_token_are_told_apart():
    """As if the texts' tokens were larger than the mentions."""
    sources = [TokenizedText(s.text, ((0, len(s.text)),)) for s in SOURCES]
    result = compare_decoders(PaDeLLM(*trained_lm()), sources)
    with_mentions = sum(bool(text.mentions) for text in TEXTS)
    assert result.same_as_plain == len(TEXTS) - with_mentions
    assert result.reasons == {NOT_ADMISSIBLE: with_mentions}


def test_so_are_counts_above_the_limit():
    lm, settings = trained_lm()
    result = compare_decoders(PaDeLLM(lm, replace(settings, max_mentions=1)), SOURCES)
    many = sum(max(Counter(m.label for m in t.mentions).values(), default=0) > 1 for t in TEXTS)
    assert 0 < many < len(TEXTS)
    assert result.reasons == {TOO_MANY: many}


def test_so_are_mentions_that_are_too_long():
    lm, settings = trained_lm()
    result = compare_decoders(PaDeLLM(lm, replace(settings, max_mention_tokens=1)), SOURCES)
    longer = sum(
        any(" " in text.source.text[m.start : m.end] for m in text.mentions) for text in TEXTS
    )
    assert 0 < longer < len(TEXTS)
    assert result.reasons == {NOT_ADMISSIBLE: longer}


def test_the_settings_of_the_checkpoint_count():
    lm, settings = trained_lm()
    padellm = PaDeLLM(lm, replace(settings, softmax="admissible"))
    result = compare_decoders(padellm, SOURCES[:2])
    assert [agreement.same for agreement in result.walks.values()] == [2, 2]
    assert result.same_as_plain == 2


def test_other_mentions_are_no_agreement():
    agreement = Agreement()
    agreement.add([DecodedMention("A", ((0, 1),), -1.0)], [DecodedMention("B", ((0, 1),), -1.0)])
    agreement.add([DecodedMention("A", ((0, 1),), -1.0)], [DecodedMention("A", ((0, 1),), -1.5)])
    agreement.add([], [])
    assert agreement == Agreement(2, 0.5)


@pytest.mark.parametrize("keeps", [False, True])
def test_models_without_a_cache_have_no_batch(monkeypatch, keeps):
    monkeypatch.setattr(comparison, "has_cache", lambda support: keeps)
    padellm = PaDeLLM(
        random_lm("llama", "en", "causal", 0), Settings(TEMPLATES["en"], WORDINGS["en"], **LIMITS)
    )
    result = compare_decoders(padellm, RANDOM_TEXTS["en"][:1])
    assert set(result.walks) == ({"sequences", "batch"} if keeps else {"sequences"})


def test_a_mask_of_three_dimensions_may_leave_no_room_for_a_cache():
    assert not has_cache(TreeSupport("recomputed", "3d"))
    for support in [("cached", "3d"), ("recomputed", "4d"), ("sequences", None)]:
        assert has_cache(TreeSupport(*support))
