from __future__ import annotations

import random
from functools import lru_cache

import pytest

from spacy_padellm.core.causal_lm import CausalLM
from spacy_padellm.core.decoding.parallel import MentionLimits, ParallelDecoder
from spacy_padellm.core.mentions import DecodedMention
from spacy_padellm.core.prompt import PromptEncoder
from spacy_padellm.core.template import TEMPLATES
from spacy_padellm.core.texts import TokenizedText

from ..reference import Paper
from ..sample_texts import NASTY, cut_at_characters, cut_at_spaces
from ..sample_tokenizers import WORDINGS, small_tokenizer
from ..tiny_models import tiny_model

LIMITS = MentionLimits(max_mentions=4, max_mention_tokens=4)
TEXTS = {
    "en": [
        cut_at_spaces("Anna met Bob in New York ; Bob met Anna ."),
        cut_at_spaces("JAPAN"),
        cut_at_spaces("the the the  the"),
        cut_at_characters("2-1 win"),
    ],
    "zh": [
        cut_at_characters("常建良，男，常建良"),
        cut_at_characters("1963年出生，工科学士。"),
        cut_at_spaces("高级 工程师 高级"),
    ],
}


@lru_cache(maxsize=None)
def random_lm(family: str, lang: str, prefix_attention: str, seed: int) -> CausalLM:
    tokenizer = small_tokenizer(lang)
    model = tiny_model(family, vocab_size=len(tokenizer), seed=seed)
    return CausalLM(model, tokenizer, prefix_attention=prefix_attention)


def decoder(lm: CausalLM, lang: str = "en", **settings) -> ParallelDecoder:
    encoder = PromptEncoder(TEMPLATES[lang], WORDINGS[lang], lm.tokenizer)
    return ParallelDecoder(lm, encoder, settings.pop("limits", LIMITS), **settings)


def labels(lang: str = "en") -> list[str]:
    return list(WORDINGS[lang])


def assert_same(found: list[list[DecodedMention]], expected: list[list[DecodedMention]]) -> None:
    assert [[(m.label, m.places) for m in text] for text in found] == [
        [(m.label, m.places) for m in text] for text in expected
    ]
    for ours, theirs in zip(sum(found, []), sum(expected, []), strict=True):
        assert ours.log_prob == pytest.approx(theirs.log_prob, abs=1e-4)


MODELS = [("llama", lang, seed) for lang in ("en", "zh") for seed in range(4)]
MODELS += [(family, "en", 0) for family in ("gpt2", "bert", "gemma2", "bloom")]


@pytest.mark.parametrize("softmax", ["vocabulary", "admissible"])
@pytest.mark.parametrize("prefix_attention", ["causal", "bidirectional"])
@pytest.mark.parametrize("family, lang, seed", MODELS)
def test_mentions_are_those_of_separate_sequences(family, lang, seed, prefix_attention, softmax):
    if family == "bloom" and prefix_attention == "bidirectional":
        return
    lm = random_lm(family, lang, prefix_attention, seed)
    paper = Paper.of(lm, TEMPLATES[lang], WORDINGS[lang], softmax=softmax)
    expected = [paper.decode(text, labels(lang)) for text in TEXTS[lang]]
    for way in {"recomputed", "sequences", lm.support.way} & ways_of(lm):
        found = decoder(lm.forced(way), lang, softmax=softmax).decode(TEXTS[lang], labels(lang))
        assert_same(found, expected)


def ways_of(lm: CausalLM) -> set[str]:
    return {"cached", "recomputed", "sequences"} if lm.support.mask_form else {"sequences"}


def test_the_random_models_write_something():
    """Mentions of several tokens, of several labels, in several places, else nothing is tested."""
    found = [
        mention
        for lang in TEXTS
        for seed in range(4)
        for text in decoder(random_lm("llama", lang, "causal", seed), lang).decode(
            TEXTS[lang], labels(lang)
        )
        for mention in text
    ]
    assert len(found) >= 60
    assert {mention.label for mention in found} == {*labels("en"), *labels("zh")}
    lengths = {end - start for mention in found for start, end in mention.places}
    assert len(lengths) >= 5
    assert any(len(mention.places) > 1 for mention in found)
    assert len({mention.log_prob for mention in found}) >= 40
