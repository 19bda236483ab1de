from __future__ import annotations

from dataclasses import replace

import pytest

from spacy_padellm.checkpoints.settings import CheckpointSettings
from spacy_padellm.decode.extraction import MentionExtractor
from spacy_padellm.decode.mentions import Resolution
from spacy_padellm.decode.replicas import replicate
from spacy_padellm.decode.windows import cut_windows
from spacy_padellm.prompt.template import TEMPLATES
from spacy_padellm.texts import Mention, TokenizedText
from tests.sample_tokenizers import WORDINGS
from tests.tiny_models import random_lm
from tests.trained import LIMITS, TEXTS, trained_lm


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


@pytest.mark.parametrize("output_format", ["augmented", "structured"])
def test_what_was_learnt_in_an_output_format_is_found(output_format):
    extractor = MentionExtractor(*trained_lm(output_format=output_format))
    assert found_in(extractor, TEXTS) == [text.mentions for text in TEXTS]
    assert (extractor.cost.malformed, extractor.cost.ungrounded) == (0, 0)
    for mentions in extractor.extract([text.source for text in TEXTS]):
        assert all(0.5 < mention.score <= 1 for mention in mentions)


@pytest.mark.parametrize("output_format", ["parallel", "augmented", "structured"])
def test_replicas_find_the_same(output_format):
    lm, settings = trained_lm(output_format=output_format)
    texts = [text.source for text in TEXTS]
    one = MentionExtractor(lm, settings)
    for count in (1, 2, 3):
        several = MentionExtractor(lm, settings, replicas=replicate(lm, ["cpu"] * count))
        for some in (texts, texts[:1], texts[:2]):
            pairs = list(zip(several.extract(some), one.extract(some), strict=True))
            assert any(expected for _, expected in pairs)
            for found, expected in pairs:
                assert [replace(m, score=0) for m in found] == [
                    replace(m, score=0) for m in expected
                ]
                scores = [m.score for m in expected]
                assert [m.score for m in found] == pytest.approx(scores, abs=1e-5)
        assert several.cost.passes > 0
        assert several.cost.malformed == several.cost.ungrounded == 0


def test_mentions_that_look_alike_take_their_places_in_order():
    """A structured list does not say where they are."""
    (twice,) = [text for text in TEXTS if " asked " in text.source.text]
    first, second = twice.mentions
    assert twice.source.text[: first.end] == twice.source.text[second.start : second.end]
    lm, settings = trained_lm(output_format="structured")
    for occurrences in ("in_order", "all"):
        extractor = MentionExtractor(lm, settings, Resolution(occurrences=occurrences))
        assert found_in(extractor, [twice]) == [(first, second)]


@pytest.mark.parametrize("output_format", ["augmented", "structured"])
def test_outputs_that_cannot_be_read_are_counted(output_format):
    settings = CheckpointSettings(
        TEMPLATES["en"], WORDINGS["en"], limits=LIMITS, output_format=output_format
    )
    extractor = MentionExtractor(random_lm("llama", "en", "causal"), settings)
    found = extractor.extract([text.source for text in TEXTS])
    assert len(found) == len(TEXTS)
    assert extractor.cost.malformed >= len(TEXTS)


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


def test_long_texts_are_read_in_windows():
    lm, settings = trained_lm()
    extractor = MentionExtractor(lm, settings)
    sources = [text.source for text in TEXTS]
    assert extractor.extract_long(sources) == extractor.extract(sources)
    long = TokenizedText("word " * 200 + "left", tuple((5 * i, 5 * i + 4) for i in range(201)))
    with pytest.raises(ValueError, match="P023"):
        extractor.extract([long])
    windows = cut_windows(long, extractor._fit)
    assert len(windows) > 1
    expected = extractor.extract_windows([long.text], [windows])
    assert extractor.extract_long([long]) == expected


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
