from __future__ import annotations

import pytest

from spacy_padellm.benchmark.replay import Replay, ReplayedText, ReplayingDecoder
from spacy_padellm.decode.replicas import SharedDecoder, replicate
from spacy_padellm.model import PaDeLLM
from spacy_padellm.settings import DecodingOptions, Settings
from spacy_padellm.texts import AnnotatedText, Mention
from spacy_padellm.tree.token_tree import TokenTree
from tests.sample_texts import TEXTS, cut_at_spaces
from tests.sample_tokenizers import WORDINGS
from tests.tiny_models import random_lm

SOURCE = cut_at_spaces("Anna met Bob in New York City")
OPTIONS = [
    DecodingOptions(tag_share=0.0, draft_threshold=0.07),
    DecodingOptions(tag_share=0.0, draft_threshold=0.0),
    DecodingOptions(tag_share=0.0, draft_threshold=1.0),
    DecodingOptions(tag_share=0.0, draft_threshold=0.07, open_counts=(1,)),
    DecodingOptions(tag_share=0.0, draft_threshold=0.07, open_counts=(1, 2, 3)),
]
STEPWISE = DecodingOptions(tag_share=0.0, draft_threshold=None)


def model(output_format: str = "parallel") -> PaDeLLM:
    settings = Settings(
        labels=WORDINGS["en"], max_mentions=2, max_mention_tokens=2, output_format=output_format
    )
    return PaDeLLM(random_lm("llama"), settings)


def replay(*mentions: Mention, output_format: str = "parallel") -> Replay:
    return Replay.of(AnnotatedText(SOURCE, mentions), model(output_format))


def strings(each: Replay) -> dict[str, list[str]]:
    return {
        label: [each.encoder.decode(ids[:-1]) for ids in mentions]
        for label, mentions in each.mentions.items()
    }


def test_mentions_are_taken_in_order_of_appearance():
    found = replay(Mention(9, 12, "PER"), Mention(0, 4, "PER"))
    assert strings(found) == {"PER": ["Anna", "Bob"], "LOC": [], "ORG": []}
    assert (found.left_out, found.output) == (0, [])


def test_what_cannot_be_written_is_left_out():
    bob = Mention(9, 12, "PER")
    longer = Mention(16, 29, "LOC")
    inside, unknown = Mention(1, 4, "PER"), Mention(0, 4, "MISC")
    found = replay(longer, inside, unknown, bob)
    assert strings(found) == {"PER": ["Bob"], "LOC": [], "ORG": []}
    assert found.left_out == 3
    found = replay(Mention(0, 4, "PER"), Mention(5, 8, "PER"), bob)
    assert (strings(found)["PER"], found.left_out) == (["Anna", "met"], 1)


def test_ids_are_those_of_training():
    mentions = (Mention(0, 4, "PER"), Mention(16, 24, "LOC"))
    found = replay(*mentions, output_format="structured")
    encoder = model().encoder
    assert found.mentions == {
        "PER": encoder.mentions(["Anna"]),
        "LOC": encoder.mentions(["New York"]),
        "ORG": [],
    }
    assert found.output == encoder.encode_output("((PER, Anna), (location, New York))")
    assert found.left_out == 0


def test_crossing_mentions_are_not_in_augmented_text():
    mentions = (Mention(0, 8, "PER"), Mention(5, 12, "LOC"))
    found = replay(*mentions, output_format="augmented")
    assert found.output == found.encoder.encode_output("[Anna met | PER] Bob in New York City")
    assert found.left_out == 1
    assert replay(*mentions, output_format="structured").left_out == 0


def chosen(padellm: PaDeLLM, gold: dict[str, list[str]]) -> Replay:
    """Any strings, in any order."""
    encoder = padellm.encoder
    mentions = {label: encoder.mentions(each) for label, each in gold.items()}
    return Replay(mentions, [], 0, encoder)


def wide_model(options: DecodingOptions) -> PaDeLLM:
    settings = Settings(labels=WORDINGS["en"], max_mentions=4, max_mention_tokens=4)
    return PaDeLLM(random_lm("llama", seed=1), settings, options)


def decoder(padellm: PaDeLLM) -> ReplayingDecoder:
    return ReplayingDecoder(padellm.lm, padellm.encoder, padellm.settings, padellm.options)


GOLD = {"PER": ["Anna", "Bob", "Bob"], "LOC": ["New York"], "ORG": []}
WRITTEN = [(label, string) for label, each in GOLD.items() for string in each]


@pytest.mark.parametrize("options", [STEPWISE, *OPTIONS], ids=str)
def test_a_replay_is_written_whatever_the_model_chooses(options):
    padellm = wide_model(options)
    text, each = padellm.encode(TEXTS["en"][0]), decoder(padellm)
    replayed = chosen(padellm, GOLD)
    (found,) = each.decode([ReplayedText.of(text, replayed)])
    assert [(m.label, text.text[slice(*m.places[0])]) for m in found] == WRITTEN
    finished = TokenTree(text.prefix)
    encoder = padellm.encoder
    for label, mentions in replayed.mentions.items():
        (*_, start) = finished.insert(encoder.branches[label], finished.prefix_end)
        for n, ids in enumerate(mentions, start=1):
            head = encoder.count_ids[len(mentions)] + encoder.openers[n]
            finished.insert(head + ids[:-1], start)
    # A last token after which only the end is left is not run.
    assert len(finished) - 4 <= each.cost.distinct_tokens <= len(finished)
    if options == STEPWISE:
        assert each.cost.tokens == each.cost.distinct_tokens


def test_other_texts_are_the_models_choice():
    padellm = wide_model(OPTIONS[0])
    text = padellm.encode(TEXTS["en"][0])
    (expected,) = padellm.decoder.decode([text])
    replayed = ReplayedText.of(text, chosen(padellm, GOLD))
    of_gold, found = decoder(padellm).decode([replayed, text])
    assert [(m.label, m.places) for m in found] == [(m.label, m.places) for m in expected]
    assert [(m.label, text.text[slice(*m.places[0])]) for m in of_gold] == WRITTEN != expected


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_what_is_drafted_first_does_not_depend_on_what_is_replayed(options, monkeypatch):
    padellm = wide_model(options)
    text, each = padellm.encode(TEXTS["en"][0]), decoder(padellm)
    passes: list[list[int]] = []
    forward = padellm.lm.model.forward

    def record(**inputs):
        passes.append(inputs["input_ids"].flatten().tolist())
        return forward(**inputs)

    monkeypatch.setattr(padellm.lm.model, "forward", record)
    first = []
    for gold in (["Anna", "Bob"], ["New York", "met", "Bob"], []):
        passes.clear()
        told = chosen(padellm, {label: gold for label in WORDINGS["en"]})
        each.decode([ReplayedText.of(text, told)])
        first.append(passes[0])
    assert first[0] == first[1] == first[2]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_mentions_of_a_replay_come_in_the_order_of_the_labels(count):
    padellm = wide_model(OPTIONS[0])
    decoders = [
        ReplayingDecoder(lm, padellm.encoder, padellm.settings, padellm.options)
        for lm in replicate(padellm.lm, ["cpu"] * count)
    ]
    text = padellm.encode(TEXTS["en"][0])
    for number in (1, 7):
        told = [ReplayedText.of(text, chosen(padellm, GOLD)) for _ in range(number)]
        for found in SharedDecoder(decoders).decode(told):
            assert [(m.label, text.text[slice(*m.places[0])]) for m in found] == WRITTEN
