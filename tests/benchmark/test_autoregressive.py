from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spacy_padellm.benchmark.autoregressive import AutoregressiveDecoder, _token_spans
from spacy_padellm.benchmark.lookup import PromptLookup
from spacy_padellm.benchmark.output_formats.factory import get_output_format
from spacy_padellm.prompt.encoder import PromptEncoder
from spacy_padellm.prompt.template import TEMPLATES
from spacy_padellm.texts import Mention, TokenizedText
from spacy_padellm.tree.causal_lm import CausalLM
from tests.sample_texts import TEXTS, cut_at_spaces
from tests.sample_tokenizers import WORDINGS
from tests.tiny_models import plain_logits, random_lm

TEXT = cut_at_spaces("Anna met Bob in New York ; Bob met Anna .")
GOLD = [Mention(0, 4, "PER"), Mention(9, 12, "PER"), Mention(16, 24, "LOC")]


def decoder(lm: CausalLM, name: str, lookup: PromptLookup | None = None) -> AutoregressiveDecoder:
    encoder = PromptEncoder(TEMPLATES["en"], WORDINGS["en"], lm.tokenizer)
    return AutoregressiveDecoder(lm, encoder, get_output_format(name), lookup)


def gold_ids(each: AutoregressiveDecoder, text: TokenizedText = TEXT, gold=GOLD) -> list[int]:
    output, left_out = each.output_format.render(text, gold, WORDINGS["en"])
    assert not left_out
    return each.encoder.output(output)


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
    each = decoder(lm, "structured", lookup)
    guides = {}
    read = each._read

    def keep(text, guide, wordings):
        guides[text] = guide
        return read(text, guide, wordings)

    each._read = keep
    each.decode(TEXTS["en"], list(WORDINGS["en"]))
    passes = 0
    assert list(guides) != TEXTS["en"]  # shortest first, and given back in order
    for text in TEXTS["en"]:
        guide = guides[text]
        prompt = each.encoder.prefix(text.text) + each.encoder.output_opener
        longest = min(64 + 4 * len(prompt), (lm.max_depth or 10**6) - len(prompt) + 1)
        written, log_probs = greedy(lm, prompt, each.encoder.end_id, longest)
        passes = max(passes, len(written))
        kept = written[: len(written) - (written[-1] == each.encoder.end_id)]
        assert guide.ids == kept
        assert guide.log_probs == pytest.approx(log_probs[: len(kept)], abs=1e-4)
    if lookup is None:
        assert each.cost.passes == passes
        if lm.support.way == "cached":
            assert each.cost.tokens == each.cost.distinct_tokens
    else:
        assert each.cost.passes < passes


@pytest.mark.parametrize("lookup", [None, PromptLookup()])
@pytest.mark.parametrize("name", ["augmented", "structured"])
def test_a_replay_is_written_and_read(name, lookup):
    lm = random_lm("llama", "en", "causal", 0)
    each = decoder(lm, name, lookup)
    ids = gold_ids(each)
    (found,) = each.decode([TEXT], list(WORDINGS["en"]), [ids])
    assert [(m.label, m.places[0]) for m in found] == [(m.label, (m.start, m.end)) for m in GOLD]
    assert (each.cost.malformed, each.cost.ungrounded) == (0, 0)
    prompt = each.encoder.prefix(TEXT.text) + each.encoder.output_opener
    assert each.cost.distinct_tokens == len(prompt) + len(ids) - 1
    if lookup is None:
        assert each.cost.passes == len(ids)
    else:
        assert each.cost.passes < len(ids)
        assert each.cost.tokens > each.cost.distinct_tokens


def test_rejected_drafts_do_not_stay_in_the_cache(monkeypatch):
    lm = random_lm("llama", "en", "causal", 0)
    each = decoder(lm, "structured", PromptLookup())
    ids = gold_ids(each)
    keys = []
    forward = lm.model.forward

    def record(**inputs):
        cached = inputs["cache" if "cache" in inputs else "past_key_values"].get_seq_length()
        output = forward(**inputs)
        keys.append((cached, inputs["input_ids"].shape[1]))
        return output

    monkeypatch.setattr(lm.model, "forward", record)
    each.decode([TEXT], list(WORDINGS["en"]), [ids])
    prompt = each.encoder.prefix(TEXT.text) + each.encoder.output_opener
    assert keys[0] == (0, len(prompt))
    assert sum(run for _, run in keys) > len(prompt) + len(ids) - 1
    # In the end nothing is cached but prompt and output.
    assert len(prompt) < keys[-1][0] < len(prompt) + len(ids)


def test_a_mentions_probability_is_that_of_its_tokens():
    lm = random_lm("llama", "en", "causal", 0)
    each = decoder(lm, "structured")
    ids = gold_ids(each)
    prompt = each.encoder.prefix(TEXT.text) + each.encoder.output_opener
    with torch.inference_mode():
        logits = plain_logits(lm.model, prompt + ids).log_softmax(1)
    # What is chosen is replayed, so probabilities are those of the model's own choices.
    log_probs = logits.max(dim=1).values[len(prompt) - 1 :].tolist()
    (found,) = each.decode([TEXT], list(WORDINGS["en"]), [ids])
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
    spans = _token_spans(list(output.encode()), output, encoder)
    expected = [
        (place, place + 1) for place, character in enumerate(output) for _ in character.encode()
    ]
    assert spans == expected


def test_an_output_cut_off_in_a_character():
    ids = list("李".encode())[:2]
    encoder = ReplacingEncoder()
    assert _token_spans(ids, encoder.decode(ids), encoder) == [(0, 1), (1, 2)]


def test_texts_that_do_not_fit():
    lm = random_lm("llama", "en", "causal", 0)
    with pytest.raises(ValueError, match=r"P023"):
        decoder(lm, "structured").decode([TokenizedText("a" * 130, ((0, 1),))], ["PER"])


def test_nothing_to_do():
    each = decoder(random_lm("llama", "en", "causal", 0), "augmented")
    assert each.decode([], ["PER"]) == []
    assert each.decode([TEXT], []) == [[]]
    assert each.cost.passes == 0
