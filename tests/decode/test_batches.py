from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spacy_padellm.decode.batches import make_batches
from spacy_padellm.decode.parallel import ParallelDecoder
from spacy_padellm.limits import MentionLimits
from spacy_padellm.prompt.encoder import PromptEncoder
from spacy_padellm.prompt.template import TEMPLATES
from spacy_padellm.texts import TokenizedText
from tests.sample_texts import TEXTS
from tests.sample_tokenizers import WORDINGS
from tests.tiny_models import random_lm


@given(st.lists(st.integers(1, 50), max_size=30), st.integers(1, 200))
def test_batches_hold_everything_and_keep_to_the_budget(lengths, budget):
    batches = make_batches(lengths, budget)
    assert sorted(item for batch in batches for item in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= budget
    in_order = [lengths[item] for batch in batches for item in batch]
    assert in_order == sorted(lengths)
    # None could have been taken along with the batch before.
    for before, after in pairwise(batches):
        assert (len(before) + 1) * lengths[after[0]] > budget


def decode(texts: list[TokenizedText], budget: int):
    lm = random_lm("llama", "en", "causal", 1)
    encoder = PromptEncoder(TEMPLATES["en"], WORDINGS["en"], lm.tokenizer)
    each = ParallelDecoder(lm, encoder, MentionLimits(4, 4), batch_tokens=budget)
    return each.decode(texts, list(WORDINGS["en"])), each.cost


@pytest.mark.parametrize("budget", [1, 60, 150, 10**6])
def test_results_come_in_the_order_of_the_texts_whatever_the_batches(budget):
    texts = random.Random(0).choices(TEXTS["en"], k=9)
    found, cost = decode(texts, budget)
    passes = 0
    for text, mentions in zip(texts, found, strict=True):
        ((alone,), own) = decode([text], budget)
        passes += own.passes
        assert [(m.label, m.places) for m in mentions] == [(m.label, m.places) for m in alone]
        for ours, theirs in zip(mentions, alone, strict=True):
            assert ours.log_prob == pytest.approx(theirs.log_prob, abs=1e-5)
    assert (cost.passes < passes) is (budget > 1)


def test_a_text_that_does_not_fit():
    with pytest.raises(ValueError, match="P023"):
        decode([TEXTS["en"][1], TokenizedText("a" * 130, ((0, 1),))], 1)


def test_a_budget_below_one():
    with pytest.raises(ValueError, match=r"P032.*batch_tokens is 0"):
        decode(TEXTS["en"][:1], 0)
