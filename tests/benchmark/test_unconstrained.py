from __future__ import annotations

import pytest
import torch

from spacy_padellm.benchmark.unconstrained import UnconstrainedDecoder, WrittenText
from spacy_padellm.limits import MentionLimits
from spacy_padellm.prompt.encoder import PromptEncoder
from spacy_padellm.prompt.template import TEMPLATES, PromptTemplate
from spacy_padellm.texts import TokenizedText
from tests.sample_texts import TEXTS as RANDOM_TEXTS
from tests.sample_tokenizers import WORDINGS
from tests.tiny_models import plain_logits, random_lm
from tests.toy_corpus import LABELS
from tests.trained import LIMITS, TEXTS, trained_lm

# The tokenizer was not made for these: a count's end and an opener are several tokens.
OWN = PromptTemplate("{text} >> {label}: ", " mentions;", "[{n}]")


def gold(text) -> list[tuple[str, str]]:
    return [
        (label, text.source.text[m.start : m.end])
        for label in LABELS
        for m in text.mentions
        if m.label == label
    ]


@pytest.mark.parametrize("template", [TEMPLATES["en"], OWN], ids=["en", "own"])
def test_a_trained_model_writes_what_it_learnt(template):
    lm, settings = trained_lm(template)
    decoder = UnconstrainedDecoder(
        lm, PromptEncoder(template, settings.labels, lm.tokenizer), LIMITS
    )
    for text in TEXTS:
        written = decoder.decode(text.source, LABELS)
        assert written.malformed_counts == ()
        assert [(m.label, m.string) for m in written.mentions] == gold(text)
        assert all(mention.ended for mention in written.mentions)


def greedy(lm, start: list[int], ends: list[int], most: int) -> tuple[list[int], bool]:
    written: list[int] = []
    while len(written) < most:
        with torch.no_grad():
            best = plain_logits(lm.model, [*start, *written])[-1].argmax().item()
        written.append(best)
        if best in ends:
            return written[:-1], True
    return written, False


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("way", ["cached", "sequences"])
def test_a_random_model_writes_nonsense(seed, way):
    """The same as greedy decoding of one sequence after the other."""
    lm = random_lm("llama", "en", "causal", seed).forced(way)
    encoder = PromptEncoder(TEMPLATES["en"], WORDINGS["en"], lm.tokenizer)
    (newline,) = encoder.count(1)[1:]
    for text in RANDOM_TEXTS["en"]:
        prefix = encoder.prefix(text.text)
        malformed = []
        for label in WORDINGS["en"]:
            ids, ended = greedy(lm, prefix + encoder.branch(label), [encoder.end_id, newline], 2)
            number = lm.tokenizer.decode(ids, clean_up_tokenization_spaces=False)
            assert not (ended and number.isdigit())
            malformed.append(number)
        written = UnconstrainedDecoder(lm, encoder, LIMITS).decode(text, list(WORDINGS["en"]))
        assert written == WrittenText((), tuple(malformed))


def test_a_mention_that_does_not_end_is_cut_off():
    lm, settings = trained_lm()
    encoder = PromptEncoder(settings.template, settings.labels, lm.tokenizer)

    def never_end(module, args, logits):
        # But after a count, or there would be no mentions.
        logits[..., encoder.end_id] -= 1000
        logits[..., encoder.count(1)[-1]] += 1
        return logits

    hook = lm.model.get_output_embeddings().register_forward_hook(never_end)
    text = next(text for text in TEXTS if text.mentions)
    try:
        written = UnconstrainedDecoder(lm, encoder, LIMITS).decode(text.source, LABELS)
    finally:
        hook.remove()
    assert written.mentions
    for mention in written.mentions:
        assert not mention.ended
        assert len(mention.ids) == len(encoder.prefix(text.source.text)) + 1
        assert lm.tokenizer.decode(mention.ids) == mention.string


def test_no_more_mentions_than_allowed():
    lm, settings = trained_lm()
    encoder = PromptEncoder(settings.template, settings.labels, lm.tokenizer)
    decoder = UnconstrainedDecoder(lm, encoder, MentionLimits(max_mentions=1))
    assert any(len(gold(text)) != len(dict(gold(text))) for text in TEXTS)
    for text in TEXTS:
        written = decoder.decode(text.source, LABELS)
        first = {label: string for label, string in reversed(gold(text))}
        assert {m.label: m.string for m in written.mentions} == first
        counts = [sum(label == each for each, _ in gold(text)) for label in LABELS]
        assert written.excessive_counts == tuple(count for count in counts if count > 1)
        assert len(written.mentions) == len(first)


def test_a_text_that_leaves_little_room():
    """As long a text as the trie decoder takes."""
    lm, settings = trained_lm()
    encoder = PromptEncoder(settings.template, settings.labels, lm.tokenizer)
    text = next(text for text in TEXTS if text.mentions).source
    longest = max(m.end - m.start for each in TEXTS for m in each.mentions)
    expected = UnconstrainedDecoder(lm, encoder, LIMITS).decode(text, LABELS)
    size = len(encoder.prefix(text.text)) + len(encoder.branch("PER"))
    size += len(encoder.count(LIMITS.max_mentions)) + len(encoder.opener(1))
    before = lm.model.config.max_position_embeddings
    try:
        lm.model.config.max_position_embeddings = size + longest
        assert UnconstrainedDecoder(lm, encoder, LIMITS).decode(text, LABELS) == expected
        # Cut off after a token, and no error.
        lm.model.config.max_position_embeddings = size
        written = UnconstrainedDecoder(lm, encoder, LIMITS).decode(text, LABELS)
        assert written.mentions and all(len(m.ids) <= 1 for m in written.mentions)
        lm.model.config.max_position_embeddings = size - 1
        with pytest.raises(ValueError, match="P023"):
            UnconstrainedDecoder(lm, encoder, LIMITS).decode(text, LABELS)
    finally:
        lm.model.config.max_position_embeddings = before


def test_a_text_longer_than_the_positions():
    lm, settings = trained_lm()
    encoder = PromptEncoder(settings.template, settings.labels, lm.tokenizer)
    with pytest.raises(ValueError, match=r"P023.*128 positions"):
        UnconstrainedDecoder(lm, encoder, LIMITS).decode(TokenizedText("a" * 130, ()), LABELS)
