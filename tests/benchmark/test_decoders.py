from __future__ import annotations

from dataclasses import replace

import pytest

from spacy_padellm.benchmark.decoders import (
    DECODERS,
    DecoderSpec,
    adapt,
    build_decoder,
    parse_spec,
)
from spacy_padellm.benchmark.free_text import LaboratoryCost
from spacy_padellm.benchmark.replay import Replay, ReplayedText
from spacy_padellm.decode.decoder import Decoder
from spacy_padellm.decode.mentions import resolve
from spacy_padellm.decode.replicas import Replicas
from spacy_padellm.model import PaDeLLM
from spacy_padellm.settings import DecodingOptions, Settings
from spacy_padellm.texts import AnnotatedText, Mention
from spacy_padellm.tree.causal_lm import CausalLM
from tests.sample_texts import cut_at_spaces
from tests.sample_tokenizers import WORDINGS
from tests.tiny_models import random_lm
from tests.trained import FLAT, TEXTS, trained_lm

SETTINGS = Settings(labels=WORDINGS["en"], max_mentions=5, max_mention_tokens=4)
TEXT = AnnotatedText(
    cut_at_spaces("Anna met Bob in New York ; Bob met Anna ."),
    (Mention(0, 4, "PER"), Mention(9, 12, "PER"), Mention(16, 24, "LOC"), Mention(27, 30, "PER")),
)


def replay_with(
    name: str, lm: CausalLM, replicas: Replicas | None = None
) -> tuple[Decoder, ReplayedText]:
    """A decoder, and the text with its gold to write."""
    padellm = adapt(PaDeLLM(lm, SETTINGS, replicas=replicas), parse_spec(name))
    replay = Replay.of(TEXT, padellm)
    assert replay.left_out == 0
    return build_decoder(parse_spec(name), padellm), ReplayedText.of(
        padellm.encode(TEXT.source), replay
    )


def found_gold(found) -> tuple[Mention, ...]:
    entities = resolve(TEXT.source.text, found, DecodingOptions())
    return tuple(sorted(Mention(e.start, e.end, e.label) for e in entities))


@pytest.mark.parametrize(
    "name, spec",
    [
        ("tree", DecoderSpec("tree", "tree")),
        ("tree:0.05", DecoderSpec("tree:0.05", "tree", 0.05)),
        ("tree@16", DecoderSpec("tree@16", "tree", None, 16)),
        ("tree-early:1@2", DecoderSpec("tree-early:1@2", "tree-early", 1.0, 2)),
        ("augmented-lookup@4", DecoderSpec("augmented-lookup@4", "augmented-lookup", None, 4)),
    ],
)
def test_names_are_taken_apart(name, spec):
    assert parse_spec(name) == spec


@pytest.mark.parametrize(
    "name, error",
    [
        ("forest", r"P408.*'forest'.*tree, tree-early"),
        ("tree:1.2.3", r"P408.*'tree:1.2.3'"),
        ("", r"P408"),
        (
            "batch:0.1",
            r"P409.*'batch:0.1'.*batch takes no threshold.*"
            r"take a threshold: tree, tree-early, tree-tags, replicas\..*take a batch size: ",
        ),
        ("structured:0.1", r"P409.*structured takes no threshold"),
        ("batch@4", r"P409.*batch takes no batch size"),
        ("multi@2", r"P409.*multi takes no batch size.*structured"),
        ("tree@0", r"P032.*batch size"),
    ],
)
def test_names_of_no_decoder(name, error):
    with pytest.raises(ValueError, match=error):
        parse_spec(name)


# A replayed model has no text tags, and one decoder writes nothing.
REPLAYED = [name for name in DECODERS if name not in ("tags", "text")]


@pytest.mark.parametrize("name", REPLAYED)
def test_every_decoder_replays_gold(name):
    """What it finds is the gold, and what it takes does not come from the model's choices."""
    costs = []
    for seed in range(2):
        decoder, text = replay_with(name, random_lm("llama", "en", "causal", seed))
        (found,) = decoder.decode([text])
        assert found_gold(found) == TEXT.mentions
        cost = LaboratoryCost.of(decoder.cost)
        assert (cost.malformed, cost.ungrounded) == (0, 0)
        assert cost.passes > 0
        assert 0 < cost.distinct_tokens <= cost.tokens
        costs.append((cost.passes, cost.tokens, cost.distinct_tokens))
    assert costs[0] == costs[1]


def test_the_fewest_passes_are_those_of_the_tree():
    lm = random_lm("llama", "en", "causal", 0)
    passes, tokens = {}, {}
    for name in REPLAYED:
        decoder, text = replay_with(name, lm)
        decoder.decode([text])
        passes[name], tokens[name] = decoder.cost.passes, decoder.cost.tokens
    assert passes["tree-early"] <= passes["tree"] <= 3
    assert passes["tree"] < passes["tree-plain"] == passes["batch-tries"] <= passes["batch"]
    assert passes["batch"] == passes["multi"] == passes["batch-shared"] - 1
    assert passes["batch"] < passes["structured"] < passes["augmented"]
    assert passes["structured-lookup"] < passes["structured"]
    assert passes["augmented-lookup"] < passes["augmented"]
    # The tree alone runs nothing twice.
    assert tokens["tree-plain"] < tokens["batch-shared"] < tokens["batch"]


@pytest.mark.parametrize("prefix_attention", ["causal", "bidirectional"])
def test_texts_that_are_only_read(prefix_attention):
    lm = random_lm("llama", "en", prefix_attention, 0)
    padellm = PaDeLLM(lm, trained_lm()[1])
    decoder = build_decoder(parse_spec("text@4"), padellm)
    texts = [padellm.encode(text.source) for text in FLAT[:4]]
    assert decoder.decode(texts) == [[]] * 4
    size = sum(len(text.prefix) for text in texts)
    assert (decoder.cost.passes, decoder.cost.tokens) == (1, size)


def test_decoders_that_read_tags():
    lm, settings = trained_lm(tag_text=1.0)
    padellm = PaDeLLM(lm, replace(settings, text_tags=True))
    for text in FLAT:
        encoded = padellm.encode(text.source)
        for name in ("tree-tags", "tags"):
            decoder = build_decoder(parse_spec(name), padellm)
            found = resolve(text.source.text, decoder.decode([encoded])[0], decoder.options)
            assert {(e.start, e.end, e.label) for e in found} == {
                (m.start, m.end, m.label) for m in text.mentions
            }
            assert decoder.cost.passes == 1 or name == "tree-tags"
    with pytest.raises(ValueError, match="P039"):
        replay_with("tags", random_lm("llama", "en", "causal", 0))


def test_trained_models_find_the_same_on_every_way():
    padellm = PaDeLLM(*trained_lm())
    names = ["tree", "tree-early", "tree-plain", "batch", "batch-shared", "batch-tries", "multi"]
    decoders = [build_decoder(parse_spec(name), padellm) for name in names]
    n_found = 0
    for text in TEXTS:
        encoded = padellm.encode(text.source)
        found = [decoder.decode([encoded])[0] for decoder in decoders]
        n_found += len(found[0])
        for others in found[1:]:
            assert [(m.label, m.places) for m in others] == [(m.label, m.places) for m in found[0]]
            for ours, theirs in zip(found[0], others, strict=True):
                assert ours.log_prob == pytest.approx(theirs.log_prob, abs=1e-4)
    assert n_found == sum(len(text.mentions) for text in TEXTS)
    costs = [LaboratoryCost.of(decoder.cost) for decoder in decoders]
    assert all(cost.malformed == cost.ungrounded == 0 for cost in costs)


@pytest.mark.parametrize("name", ["replicas", "replicas:0.5", "replicas@4"])
def test_replicas_find_what_the_tree_finds(name):
    lm, settings = trained_lm()
    padellm = PaDeLLM(lm, settings, replicas=Replicas(["cpu"] * 3))
    tree, several = (build_decoder(parse_spec(each), padellm) for each in ("tree", name))
    texts = [padellm.encode(text.source) for text in TEXTS]
    expected = [tree.decode([text])[0] for text in texts]
    size = parse_spec(name).batch_size
    batches = [texts[first : first + size] for first in range(0, len(texts), size)]
    found = [mentions for batch in batches for mentions in several.decode(batch)]
    assert [[(m.label, m.places) for m in text] for text in found] == [
        [(m.label, m.places) for m in text] for text in expected
    ]
    # Each replica that writes a text runs it.
    assert (several.cost.distinct_tokens > tree.cost.distinct_tokens) is (size == 1)


def test_replicas_replay_gold():
    lm = random_lm("llama", "en", "causal", 0)
    decoder, text = replay_with("replicas", lm, Replicas(["cpu", "cpu"]))
    (found,) = decoder.decode([text])
    assert found_gold(found) == TEXT.mentions


def test_what_an_untrained_model_writes_is_counted():
    padellm = PaDeLLM(random_lm("llama", "en", "causal", 0), SETTINGS)
    decoder = build_decoder(parse_spec("batch"), padellm)
    decoder.decode([padellm.encode(TEXT.source)])
    assert decoder.cost.malformed > 0


def test_a_batch_of_texts():
    padellm = PaDeLLM(*trained_lm())
    one, many = (build_decoder(parse_spec(name), padellm) for name in ("tree", "tree@4"))
    texts = [padellm.encode(text.source) for text in TEXTS[:4]]
    found = many.decode(texts)
    alone = [one.decode([text])[0] for text in texts]
    assert [[(m.label, m.places) for m in text] for text in found] == [
        [(m.label, m.places) for m in text] for text in alone
    ]
    assert many.cost.passes < one.cost.passes
    assert many.cost.tokens == one.cost.tokens
