from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spacy_padellm.benchmark.autoregressive import (
    AutoregressiveDecoder,
    PromptLookup,
    find_spelled,
)
from spacy_padellm.benchmark.free_text import LaboratoryCost
from spacy_padellm.benchmark.replay import Replay, ReplayedText
from spacy_padellm.decode.replicas import Replicas, replicate
from spacy_padellm.model import PaDeLLM
from spacy_padellm.prompt.encoder import EncodedText
from spacy_padellm.settings import DecodingOptions, Settings
from spacy_padellm.texts import AnnotatedText, Mention, TokenizedText
from spacy_padellm.tree.causal_lm import CausalLM
from tests.sample_texts import TEXTS, cut_at_spaces
from tests.sample_tokenizers import WORDINGS
from tests.tiny_models import plain_logits, random_lm
from tests.trained import TEXTS as LEARNT
from tests.trained import trained_lm

TEXT = cut_at_spaces("Anna met Bob in New York ; Bob met Anna .")
GOLD = (Mention(0, 4, "PER"), Mention(9, 12, "PER"), Mention(16, 24, "LOC"))


@pytest.mark.parametrize(
    "ids, draft",
    [
        ([1, 2, 3, 4, 9, 2, 3], [4, 9, 2, 3]),
        # The longest match, even if a shorter one is nearer.
        ([1, 2, 3, 5, 3, 6, 2, 3], [5, 3, 6, 2]),
        # The last of several.
        ([3, 7, 3, 8, 3], [8, 3]),
        ([1, 1, 1], [1]),
        ([1, 2, 3], []),
        ([1], []),
        ([], []),
    ],
)
def test_what_followed_is_drafted(ids, draft):
    assert PromptLookup(longest_match=2, length=4).draft(ids) == draft


def test_a_longer_match_is_not_looked_for():
    ids = [1, 2, 3, 5, 9, 2, 3, 6, 1, 2, 3]
    assert PromptLookup(3, 1).draft(ids) == [5]
    assert PromptLookup(2, 1).draft(ids) == [6]


def model(lm: CausalLM, name: str, labels=WORDINGS["en"]) -> PaDeLLM:
    return PaDeLLM(lm, Settings(labels=labels, output_format=name))


def decoder(padellm: PaDeLLM, lookup: PromptLookup | None = None) -> AutoregressiveDecoder:
    if lookup is None:
        options = DecodingOptions(draft_threshold=None)
        padellm = PaDeLLM(padellm.lm, padellm.settings, options)
    return AutoregressiveDecoder(padellm, [padellm.lm], lookup)


def prompt_of(text: EncodedText) -> list[int]:
    return text.prefix + text.encoder.count_end


def replayed(padellm: PaDeLLM) -> ReplayedText:
    replay = Replay.of(AnnotatedText(TEXT, GOLD), padellm)
    assert replay.left_out == 0
    return ReplayedText.of(padellm.encode(TEXT), replay)


def greedy(
    lm: CausalLM, ids: list[int], end_id: int, longest: int
) -> tuple[list[int], list[float]]:
    """One token after the other, each from a whole new pass."""
    written, log_probs = [], []
    with torch.inference_mode():
        while len(written) < longest:
            logits = plain_logits(lm.model, ids + written)[-1].log_softmax(0)
            written.append(int(logits.argmax()))
            log_probs.append(logits.max().item())
            if written[-1] == end_id:
                break
    return written, log_probs


@pytest.mark.parametrize("lookup", [None, PromptLookup(), PromptLookup(1, 3)])
@pytest.mark.parametrize("family", ["llama", "gpt2", "bloom"])
@pytest.mark.parametrize("seed", range(2))
def test_what_is_written_is_greedy(family, seed, lookup):
    lm = random_lm(family, "en", "causal", seed)
    padellm = model(lm, "structured")
    each = decoder(padellm, lookup)
    texts = [padellm.encode(text) for text in TEXTS["en"]]
    sizes = [len(text.prefix) for text in texts]
    assert sizes != sorted(sizes)  # shortest first, and given back in order
    passes = 0
    for text, output in zip(texts, each.write(texts), strict=True):
        prompt = prompt_of(text)
        longest = min(64 + 4 * len(prompt), (lm.max_depth or 10**6) - len(prompt) + 1)
        written, log_probs = greedy(lm, prompt, each.encoder.end_id, longest)
        passes = max(passes, len(written))
        kept = written[: len(written) - (written[-1] == each.encoder.end_id)]
        assert output.ids == kept
        assert output.log_probs == pytest.approx(log_probs[: len(kept)], abs=1e-4)
    if lookup is None:
        assert each.cost.passes == passes
        if lm.support.way == "cached":
            assert each.cost.tokens == each.cost.distinct_tokens
    else:
        assert each.cost.passes < passes


@pytest.mark.parametrize("lookup", [None, PromptLookup()])
@pytest.mark.parametrize("name", ["augmented", "structured"])
def test_a_replay_is_written_and_read(name, lookup):
    padellm = model(random_lm("llama"), name)
    each, text = decoder(padellm, lookup), replayed(padellm)
    (found,) = each.decode([text])
    places = [(m.start, m.end) for m in GOLD]
    assert [(m.label, m.places[0]) for m in found] == [
        (m.label, place) for m, place in zip(GOLD, places, strict=True)
    ]
    assert (each.cost.malformed, each.cost.ungrounded) == (0, 0)
    ids = text.replay.output
    assert each.cost.distinct_tokens == len(prompt_of(text)) + len(ids) - 1
    if lookup is None:
        assert each.cost.passes == len(ids)
    else:
        assert each.cost.passes < len(ids)
        assert each.cost.tokens > each.cost.distinct_tokens


def test_rejected_drafts_do_not_stay_in_the_cache(monkeypatch):
    padellm = model(random_lm("llama"), "structured")
    each, text = decoder(padellm, PromptLookup()), replayed(padellm)
    keys = []
    forward = padellm.lm.model.forward

    def record(**inputs):
        cached = inputs["cache" if "cache" in inputs else "past_key_values"].get_seq_length()
        output = forward(**inputs)
        keys.append((cached, inputs["input_ids"].shape[1]))
        return output

    monkeypatch.setattr(padellm.lm.model, "forward", record)
    each.decode([text])
    prompt, ids = prompt_of(text), text.replay.output
    assert keys[0] == (0, len(prompt))
    assert sum(run for _, run in keys) > len(prompt) + len(ids) - 1
    # In the end nothing is cached but prompt and output.
    assert len(prompt) < keys[-1][0] < len(prompt) + len(ids)


def test_a_mentions_probability_is_that_of_its_tokens():
    padellm = model(random_lm("llama"), "structured")
    each, text = decoder(padellm), replayed(padellm)
    prompt, ids = prompt_of(text), text.replay.output
    with torch.inference_mode():
        logits = plain_logits(padellm.lm.model, prompt + ids).log_softmax(1)
    # What is chosen is replayed, so probabilities are those of the model's own choices.
    log_probs = logits.max(dim=1).values[len(prompt) - 1 :].tolist()
    (found,) = each.decode([text])
    output = "((PER, Anna), (PER, Bob), (location, New York))"
    pieces = [each.encoder.decode([i]) for i in ids[:-1]]
    assert "".join(pieces) == output
    for mention, written in zip(
        found, ["PER, Anna", "PER, Bob", "location, New York"], strict=True
    ):
        start = output.index(written)
        expected, place = 0.0, 0
        for piece, log_prob in zip(pieces, log_probs, strict=False):
            if place < start + len(written) and start < place + len(piece):
                expected += log_prob
            place += len(piece)
        assert mention.log_prob < 0
        assert mention.log_prob == pytest.approx(expected, abs=1e-4)


class BytesEncoder:
    """Spells each character in its bytes; an incomplete one at the end is not shown."""

    def decode(self, ids):
        return bytes(ids).decode("utf8", errors="ignore")


class ReplacingEncoder:
    """The same, with a replacement character for each byte of an incomplete one."""

    def decode(self, ids):
        text = bytes(ids).decode("utf8", errors="ignore")
        return text + "\ufffd" * (len(ids) - len(text.encode()))


@pytest.mark.parametrize("encoder", [BytesEncoder(), ReplacingEncoder()])
@given(st.text(alphabet="ab李涛é😀", max_size=8))
def test_tokens_that_spell_a_character_together_all_have_it(encoder, output):
    spans = find_spelled(list(output.encode()), output, encoder)
    expected = [
        (place, place + 1) for place, character in enumerate(output) for _ in character.encode()
    ]
    assert spans == expected


def test_an_output_cut_off_in_a_character():
    ids = list("李".encode())[:2]
    encoder = ReplacingEncoder()
    assert find_spelled(ids, encoder.decode(ids), encoder) == [(0, 1), (1, 2)]


def test_texts_that_do_not_fit():
    padellm = model(random_lm("llama"), "structured")
    text = padellm.encode(TokenizedText("a" * 130, ((0, 1),)))
    with pytest.raises(ValueError, match=r"P023"):
        decoder(padellm).decode([text])


def test_a_text_fits_if_it_can_be_written_twice_more():
    padellm = model(random_lm("llama"), "structured")
    texts = [padellm.encode(cut_at_spaces("Anna " * n + "Bob")) for n in range(60)]
    assert {padellm.decoder.fits(text) for text in texts} == {False, True}
    for text in texts:
        assert padellm.decoder.fits(text) is (3 * len(text.prefix) <= 128)


def test_nothing_to_do():
    each = decoder(model(random_lm("llama"), "augmented"))
    assert each.decode([]) == []
    unlabelled = model(random_lm("llama"), "augmented", {})
    each = decoder(unlabelled)
    assert each.decode([unlabelled.encode(TEXT)]) == [[]]
    assert each.cost.passes == 0


@pytest.mark.parametrize("lookup", [True, False])
def test_a_model_of_the_format_is_decoded_so(lookup):
    """Through the entry point, as pipelines do."""
    padellm = model(random_lm("llama"), "structured")
    if not lookup:
        padellm = PaDeLLM(padellm.lm, padellm.settings, DecodingOptions(draft_threshold=None))
    assert isinstance(padellm.decoder, AutoregressiveDecoder)
    assert padellm.decoder.lookup == (PromptLookup() if lookup else None)
    assert padellm.decoder.output_format.name == "structured"


def test_what_cannot_be_read_is_logged_once(caplog):
    padellm = model(random_lm("llama"), "structured")
    padellm.predict(TEXTS["en"])
    cost = padellm.cost
    assert isinstance(cost, LaboratoryCost) and cost.malformed > 0
    (message,) = caplog.messages
    assert message.startswith(f"{cost.malformed} stretches of what the model wrote were malformed")
    assert f" and {cost.ungrounded} of its mentions ungrounded" in message
    assert cost.describe() == (
        f"{cost.passes} forward passes, {cost.tokens} tokens run\n"
        f"{cost.malformed} stretches of the structured output malformed, "
        f"{cost.ungrounded} mentions ungrounded"
    )
    caplog.clear()
    padellm.predict(TEXTS["en"][:1])
    (message,) = caplog.messages
    assert message.startswith(f"{padellm.cost.malformed - cost.malformed} stretches ")


def test_nothing_is_logged_of_what_is_read(caplog):
    padellm = PaDeLLM(*trained_lm(output_format="augmented"))
    found = padellm.predict([text.source for text in LEARNT], nested=True)
    assert [[Mention(e.start, e.end, e.label) for e in each] for each in found] == [
        sorted(text.mentions) for text in LEARNT
    ]
    assert padellm.cost.malformed == padellm.cost.ungrounded == 0
    assert caplog.messages == []


def assert_same(found, expected):
    assert [[(m.label, m.places) for m in text] for text in found] == [
        [(m.label, m.places) for m in text] for text in expected
    ]
    for of_text, expected_of_text in zip(found, expected, strict=True):
        for ours, theirs in zip(of_text, expected_of_text, strict=True):
            assert ours.log_prob == pytest.approx(theirs.log_prob, abs=1e-4)


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("output_format", ["augmented", "structured"])
@pytest.mark.parametrize("chosen", [LEARNT, LEARNT[:1], []], ids=len)
def test_several_devices_share_the_texts(output_format, count, chosen):
    lm, settings = trained_lm(output_format=output_format)
    one = PaDeLLM(lm, settings)
    several = PaDeLLM(lm, settings, replicas=Replicas(["cpu"] * count))
    texts = [one.encode(text.source) for text in chosen]
    found = several.decoder.decode(texts)
    assert_same(found, one.decoder.decode(texts))
    assert [len(mentions) for mentions in found] == [len(text.mentions) for text in chosen]


def test_outputs_are_replayed_each_as_its_own():
    lm, settings = trained_lm(output_format="structured")
    padellm = PaDeLLM(lm, settings)
    texts = []
    for text in LEARNT:
        first = Mention(*text.source.tokens[0], "PER")
        replay = Replay.of(AnnotatedText(text.source, (first,)), padellm)
        texts.append(ReplayedText.of(padellm.encode(text.source), replay))
    several = AutoregressiveDecoder(padellm, replicate(lm, ["cpu"] * 3))
    found = several.decode(texts)
    assert_same(found, AutoregressiveDecoder(padellm).decode(texts))
    assert [mention.places[0] for (mention,) in found] == [text.tokens[0] for text in texts]


def test_unreadable_outputs_add_up():
    padellm = model(random_lm("llama"), "structured")
    texts = [padellm.encode(text) for text in TEXTS["en"]]
    one = AutoregressiveDecoder(padellm)
    several = AutoregressiveDecoder(padellm, replicate(padellm.lm, ["cpu", "cpu"]))
    one.decode(texts)
    several.decode(texts)
    assert several.cost.malformed == one.cost.malformed >= len(texts)
    assert several.cost.distinct_tokens == one.cost.distinct_tokens
    assert several.cost.passes > one.cost.passes


def test_what_fails_in_a_replica_is_an_error(monkeypatch):
    padellm = model(random_lm("llama"), "structured")
    lms = replicate(padellm.lm, ["cpu", "cpu"])

    def fail(*args, **kwargs):
        raise KeyError("here")

    monkeypatch.setattr(lms[1].model, "forward", fail)
    with pytest.raises(KeyError, match="here"):
        AutoregressiveDecoder(padellm, lms).decode([padellm.encode(t) for t in TEXTS["en"]])
