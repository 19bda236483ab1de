from __future__ import annotations

from dataclasses import replace

import pytest

from spacy_padellm.core.extraction import MentionExtractor
from spacy_padellm.core.mentions import Resolution
from spacy_padellm.core.texts import Mention, TokenizedText

from .trained import TEXTS, trained_lm


def found_in(extractor: MentionExtractor, texts) -> list[tuple[Mention, ...]]:
    return [
        tuple(Mention(m.start, m.end, m.label) for m in mentions)
        for mentions in extractor.extract([text.source for text in texts])
    ]


def test_what_was_learnt_is_found():
    extractor = MentionExtractor(*trained_lm())
    assert found_in(extractor, TEXTS) == [text.mentions for text in TEXTS]
    assert any(text.mentions for text in TEXTS)
    for mentions in extractor.extract([text.source for text in TEXTS]):
        assert all(0.5 < mention.score <= 1 for mention in mentions)


def test_the_resolution_is_applied():
    extractor = MentionExtractor(*trained_lm(), Resolution(threshold=1.0))
    assert found_in(extractor, TEXTS) == [()] * len(TEXTS)


def test_only_the_labels_of_the_settings_are_looked_for():
    lm, settings = trained_lm()
    extractor = MentionExtractor(lm, replace(settings, labels={"PER": "PER"}))
    assert extractor.labels == ("PER",)
    assert found_in(extractor, TEXTS) == [
        tuple(m for m in text.mentions if m.label == "PER") for text in TEXTS
    ]


def test_no_labels():
    lm, settings = trained_lm()
    with pytest.raises(ValueError, match=r"P033.*Set `labels`"):
        MentionExtractor(lm, replace(settings, labels={}))


def test_the_cost_so_far_is_a_copy():
    extractor = MentionExtractor(*trained_lm())
    before = extractor.cost
    assert before.passes == 0
    extractor.extract([TEXTS[0].source])
    assert before.passes == 0
    assert extractor.cost.passes > 0


def test_no_texts():
    extractor = MentionExtractor(*trained_lm())
    assert extractor.extract([]) == []
    assert extractor.extract([TokenizedText("", ())]) == [[]]
