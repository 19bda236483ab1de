from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from spacy_padellm.benchmark.unconstrained import UnconstrainedDecoder, WrittenText
from spacy_padellm.model import PaDeLLM
from spacy_padellm.prompt.template import TEMPLATES, PromptTemplate
from spacy_padellm.settings import Settings
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


def write(padellm: PaDeLLM, text: TokenizedText) -> WrittenText:
    return UnconstrainedDecoder(padellm).write(padellm.encode(text))


@pytest.mark.parametrize("template", [TEMPLATES["en"], OWN], ids=["en", "own"])
def test_a_trained_model_writes_what_it_learnt(template):
    padellm = PaDeLLM(*trained_lm(template))
    for text in TEXTS:
        written = write(padellm, text.source)
        assert written.malformed_counts == ()
        assert [(m.label, m.string) for m in written.mentions] == gold(text)
        assert all(mention.is_ended for mention in written.mentions)


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
    lm = random_lm("llama", "en", "causal", seed).run_as(way)
    padellm = PaDeLLM(lm, Settings(labels=WORDINGS["en"], **LIMITS))
    encoder = padellm.encoder
    (newline,) = encoder.count_end
    for text in RANDOM_TEXTS["en"]:
        prefix = encoder.encode(text).prefix
        malformed = []
        for label in WORDINGS["en"]:
            ids, ended = greedy(lm, prefix + encoder.branches[label], [encoder.end_id, newline], 2)
            number = lm.tokenizer.decode(ids, clean_up_tokenization_spaces=False)
            assert not (ended and number.isdigit())
            malformed.append(number)
        assert write(padellm, text) == WrittenText((), tuple(malformed))


def test_a_mention_that_does_not_end_is_cut_off():
    padellm = PaDeLLM(*trained_lm())
    lm, encoder = padellm.lm, padellm.encoder

    def never_end(module, args, logits):
        # But after a count, or there would be no mentions.
        logits[..., encoder.end_id] -= 1000
        logits[..., encoder.count_end[-1]] += 1
        return logits

    hook = lm.model.get_output_embeddings().register_forward_hook(never_end)
    text = next(text for text in TEXTS if text.mentions)
    try:
        written = write(padellm, text.source)
    finally:
        hook.remove()
    assert written.mentions
    for mention in written.mentions:
        assert not mention.is_ended
        assert len(mention.ids) == len(encoder.encode(text.source).prefix) + 1
        assert lm.tokenizer.decode(mention.ids) == mention.string


def test_no_more_mentions_than_allowed():
    lm, settings = trained_lm()
    padellm = PaDeLLM(lm, replace(settings, max_mentions=1))
    assert any(len(gold(text)) != len(dict(gold(text))) for text in TEXTS)
    for text in TEXTS:
        written = write(padellm, text.source)
        first = {label: string for label, string in reversed(gold(text))}
        assert {m.label: m.string for m in written.mentions} == first
        counts = [sum(label == each for each, _ in gold(text)) for label in LABELS]
        assert written.excessive_counts == tuple(count for count in counts if count > 1)
        assert len(written.mentions) == len(first)


def with_positions(size: int) -> PaDeLLM:
    """The trained model, as if it had so many positions."""
    lm, settings = trained_lm()
    before = lm.model.config.max_position_embeddings
    try:
        lm.model.config.max_position_embeddings = size
        return PaDeLLM(lm.run_as("cached"), settings)
    finally:
        lm.model.config.max_position_embeddings = before


def test_a_text_that_leaves_little_room():
    """As long a text as the trie decoder takes."""
    padellm = PaDeLLM(*trained_lm())
    encoder = padellm.encoder
    text = next(text for text in TEXTS if text.mentions).source
    longest = max(m.end - m.start for each in TEXTS for m in each.mentions)
    expected = write(padellm, text)
    size = len(encoder.encode(text).prefix) + len(encoder.branches["PER"])
    size += len(encoder.count_ids[LIMITS["max_mentions"]]) + len(encoder.openers[1])
    assert write(with_positions(size + longest), text) == expected
    # Cut off after a token, and no error.
    narrow = with_positions(size)
    assert UnconstrainedDecoder(narrow).fits(narrow.encode(text))
    written = write(narrow, text)
    assert written.mentions and all(len(m.ids) <= 1 for m in written.mentions)
    narrower = with_positions(size - 1)
    assert not UnconstrainedDecoder(narrower).fits(narrower.encode(text))
    with pytest.raises(ValueError, match="P023"):
        write(narrower, text)


def test_a_text_longer_than_the_positions():
    padellm = PaDeLLM(*trained_lm())
    with pytest.raises(ValueError, match=r"P023.*128 positions"):
        write(padellm, TokenizedText("a" * 130, ()))


def test_mentions_that_are_not_in_the_text_are_counted():
    padellm = PaDeLLM(*trained_lm())
    decoder = UnconstrainedDecoder(padellm)
    sources = [TokenizedText(t.source.text, ((0, len(t.source.text)),)) for t in TEXTS]
    found = decoder.decode([padellm.encode(source) for source in sources])
    assert not any(found)
    assert decoder.cost.ungrounded == sum(len(text.mentions) for text in TEXTS)
    assert decoder.cost.malformed == 0
