from __future__ import annotations

import math
import threading
from itertools import chain, pairwise, takewhile

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_padellm.benchmark.autoregressive import AutoregressiveDecoder
from spacy_padellm.benchmark.lookup import PromptLookup
from spacy_padellm.benchmark.output_formats.factory import get_output_format
from spacy_padellm.decode import parallel
from spacy_padellm.decode.parallel import DEFAULT_POLICY, ParallelDecoder
from spacy_padellm.decode.replicas import replicate
from spacy_padellm.decode.spread import (
    ParallelSpread,
    TextSpread,
    balance,
    run_together,
    size_teams,
)
from spacy_padellm.limits import MentionLimits
from spacy_padellm.prompt.encoder import PromptEncoder
from spacy_padellm.prompt.template import TEMPLATES
from spacy_padellm.texts import TokenizedText
from spacy_padellm.tree.causal_lm import CausalLM, TextTooLongError
from tests.sample_texts import TEXTS, tokenized_texts
from tests.sample_tokenizers import WORDINGS, small_tokenizer
from tests.tiny_models import random_lm, ways_of
from tests.trained import TEXTS as LEARNT
from tests.trained import trained_lm

LIMITS = MentionLimits(max_mentions=4, max_mention_tokens=4)
LABELS = list(WORDINGS["en"])
ENCODER = PromptEncoder(TEMPLATES["en"], WORDINGS["en"], small_tokenizer("en"))
COUNTS = [2, 3, 5]

counts = st.integers(1, 6)
some_labels = st.lists(st.sampled_from(LABELS), min_size=1, unique=True)
loads = st.lists(st.integers(1, 60), max_size=20)


def parallel_decoders(lm: CausalLM, count: int, **options) -> list[ParallelDecoder]:
    options = {"softmax": "admissible", **options}
    lms = replicate(lm, ["cpu"] * count)
    return [ParallelDecoder(each, ENCODER, LIMITS, **options) for each in lms]


def outcome(decoder, texts, labels):
    """What is found, or that a text is too long: then it has to be for all."""
    try:
        return decoder.decode(texts, labels)
    except TextTooLongError:
        return TextTooLongError


def assert_same(found, expected) -> None:
    if TextTooLongError in (found, expected):
        assert found is expected
        return
    assert [[(m.label, m.places, len(m.tagged)) for m in text] for text in found] == [
        [(m.label, m.places, len(m.tagged)) for m in text] for text in expected
    ]
    for ours, theirs in zip(chain(*found), chain(*expected), strict=True):
        assert ours.log_prob == pytest.approx(theirs.log_prob, abs=1e-5)
        assert ours.tagged == pytest.approx(theirs.tagged, abs=1e-5)


@settings(max_examples=60)
@given(
    texts=st.lists(tokenized_texts(), max_size=8),
    labels=some_labels,
    count=counts,
    prefix=st.sampled_from(["causal", "bidirectional"]),
    softmax=st.sampled_from(["vocabulary", "admissible"]),
    policy=st.sampled_from([None, DEFAULT_POLICY]),
    batch_tokens=st.sampled_from([60, 1024]),
    seed=st.integers(0, 3),
    read_tags=st.booleans(),
)
def test_replicas_find_what_one_finds(
    texts, labels, count, prefix, softmax, policy, batch_tokens, seed, read_tags
):
    decoders = parallel_decoders(
        random_lm("llama", "en", prefix, seed),
        count,
        softmax=softmax,
        policy=policy,
        batch_tokens=batch_tokens,
        read_tags=read_tags and softmax == "admissible",
    )
    expected = outcome(decoders[0], texts, labels)
    assert_same(outcome(ParallelSpread(decoders), texts, labels), expected)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
def test_replicas_find_what_one_finds_in_every_way(family, count):
    """Texts of which something is found, fewer and more than replicas, with tags and without."""
    n_found = n_named = 0
    whole = random_lm(family, "en", "bidirectional", 1)
    for lm in map(whole.forced, ways_of(whole)):
        for read_tags in (True, False):
            decoders = parallel_decoders(lm, count, read_tags=read_tags)
            spread = ParallelSpread(decoders)
            for texts in (TEXTS["en"], TEXTS["en"][:1], TEXTS["en"][:2], TEXTS["en"] * 2):
                expected = decoders[0].decode(texts, LABELS)
                assert_same(spread.decode(texts, LABELS), expected)
                n_found += sum(map(len, expected))
                n_named += sum(m.log_prob == -math.inf for m in chain(*expected))
    assert n_found > 50 and n_named > 10


@pytest.mark.parametrize("count", COUNTS)
def test_replicas_find_what_was_learnt(count):
    lm, trained = trained_lm()
    encoder = PromptEncoder(trained.template, trained.labels, lm.tokenizer)
    spread = ParallelSpread(
        [
            ParallelDecoder(replica, encoder, trained.limits)
            for replica in replicate(lm, ["cpu"] * count)
        ]
    )
    for first in range(0, len(LEARNT), 3):
        for texts in (LEARNT[first : first + 3], LEARNT[first : first + 1]):
            found = spread.decode([text.source for text in texts], list(trained.labels))
            for text, mentions in zip(texts, found, strict=True):
                string = text.source.text
                assert sorted((m.label, string[slice(*m.places[0])]) for m in mentions) == sorted(
                    (m.label, string[m.start : m.end]) for m in text.mentions
                )


def test_labels_of_a_single_text_are_divided_and_their_tags_are_read_once(monkeypatch):
    decoders = parallel_decoders(random_lm("llama", "en", "causal", 1), 2, read_tags=True)
    written, tagged, tries = [], [], []
    write, reader = ParallelDecoder.write, parallel.TagReader
    build = parallel.build_source_trie

    def recording_write(self, prompts, labels, tag_labels=(), replays=None):
        written.append(labels)
        return write(self, prompts, labels, tag_labels, replays)

    monkeypatch.setattr(ParallelDecoder, "write", recording_write)
    monkeypatch.setattr(parallel, "TagReader", lambda *a: tagged.append(a[3]) or reader(*a))
    monkeypatch.setattr(parallel, "build_source_trie", lambda *a: tries.append(a) or build(*a))
    ParallelSpread(decoders).decode(TEXTS["en"][:1], LABELS)
    assert len(written) == 2
    assert sorted(chain(*written), key=LABELS.index) == LABELS
    # Those of all labels, not of a replica's.
    assert [len(ids) for ids in tagged] == [len(LABELS) + 1]
    # What all of them may write is listed once.
    assert len(tries) == 1


def test_texts_keep_their_labels_where_there_are_enough(monkeypatch):
    decoders = parallel_decoders(random_lm("llama", "en", "causal", 1), 2)
    written = []
    write = ParallelDecoder.write

    def recording_write(self, prompts, labels, tag_labels=(), replays=None):
        written.append(([prompt.text for prompt in prompts], labels))
        return write(self, prompts, labels, tag_labels, replays)

    monkeypatch.setattr(ParallelDecoder, "write", recording_write)
    ParallelSpread(decoders).decode(TEXTS["en"], LABELS)
    assert [labels for _, labels in written] == [LABELS] * 2
    texts = [text for share, _ in written for text in share]
    assert sorted(texts, key=TEXTS["en"].index) == TEXTS["en"]


@pytest.mark.parametrize("count", COUNTS)
def test_mentions_of_a_replay_come_in_the_order_of_the_labels(count):
    spread = ParallelSpread(parallel_decoders(random_lm("llama", "en", "causal", 1), count))
    text = TEXTS["en"][0]
    gold = {"PER": ["Anna", "Bob", "Bob"], "LOC": ["New York"], "ORG": []}
    replay = {label: ENCODER.mentions(strings) for label, strings in gold.items()}
    for texts in ([text], [text] * 7):
        for found in spread.decode(texts, list(gold), [replay] * len(texts)):
            written = [(m.label, text.text[slice(*m.places[0])]) for m in found]
            assert written == [(label, each) for label in gold for each in gold[label]]


def autoregressive(output_format: str, count: int) -> list[AutoregressiveDecoder]:
    lm, trained = trained_lm(output_format=output_format)
    encoder = PromptEncoder(trained.template, trained.labels, lm.tokenizer)
    return [
        AutoregressiveDecoder(each, encoder, get_output_format(output_format), PromptLookup())
        for each in replicate(lm, ["cpu"] * count)
    ]


@pytest.mark.parametrize("output_format", ["augmented", "structured"])
@settings(max_examples=15)
@given(chosen=st.lists(st.sampled_from(LEARNT), max_size=6), count=counts)
def test_outputs_are_shared_out_by_texts(output_format, chosen, count):
    decoders = autoregressive(output_format, count)
    labels = list(decoders[0].encoder.wordings)
    texts = [text.source for text in chosen]
    found = TextSpread(decoders).decode(texts, labels)
    assert_same(found, decoders[0].decode(texts, labels))
    assert [len(mentions) for mentions in found] == [len(text.mentions) for text in chosen]


def test_outputs_are_replayed_each_as_its_own():
    decoders = autoregressive("structured", 3)
    labels = list(decoders[0].encoder.wordings)
    texts = [text.source for text in LEARNT]
    outputs = [f"((PER, {text.text.split()[0]}))" for text in texts]
    replays = [decoders[0].encoder.output(output) for output in outputs]
    found = TextSpread(decoders).decode(texts, labels, replays)
    assert_same(found, decoders[0].decode(texts, labels, replays))
    assert [mention.places[0] for (mention,) in found] == [text.tokens[0] for text in texts]


def test_costs_add_up():
    """Of texts they are the same however they are shared; of labels it is what they begin with that
    is run twice.
    """
    decoders = parallel_decoders(random_lm("llama", "en", "causal", 1), 2, policy=None)
    one = parallel_decoders(random_lm("llama", "en", "causal", 1), 1, policy=None)[0]
    spread = ParallelSpread(decoders)
    branches = zip(*map(ENCODER.branch, LABELS), strict=False)
    alike = len(list(takewhile(lambda ids: len(set(ids)) == 1, branches)))
    assert spread.cost.passes == 0
    for texts in (TEXTS["en"], TEXTS["en"][:1]):
        before, of_one = spread.cost, one.cost.distinct_tokens
        spread.decode(texts, LABELS)
        one.decode(texts, LABELS)
        twice = len(ENCODER.prefix(texts[0].text)) + alike if len(texts) == 1 else 0
        added = spread.cost.distinct_tokens - before.distinct_tokens
        assert added == one.cost.distinct_tokens - of_one + twice
        assert spread.cost.passes > before.passes
    assert spread.cost.passes == sum(decoder.cost.passes for decoder in decoders)
    assert spread.cost.tokens == sum(decoder.cost.tokens for decoder in decoders)


def test_unreadable_outputs_add_up():
    lm = random_lm("llama", "en", "causal")
    decoders = [
        AutoregressiveDecoder(each, ENCODER, get_output_format("structured"))
        for each in replicate(lm, ["cpu", "cpu"])
    ]
    spread = TextSpread(decoders)
    spread.decode(TEXTS["en"], LABELS)
    assert all(decoder.cost.malformed > 0 for decoder in decoders)
    assert spread.cost.malformed == sum(decoder.cost.malformed for decoder in decoders)


@pytest.mark.parametrize("texts", [TEXTS["en"][:1], TEXTS["en"]], ids=["labels", "texts"])
def test_replicas_run_at_the_same_time_each_without_gradients(texts):
    """None goes on before all have come to their first pass."""
    barrier = threading.Barrier(2, timeout=60)
    seen: dict[int, tuple[int, bool]] = {}
    lms = replicate(random_lm("llama", "en", "causal", 1), ["cpu", "cpu"])
    hooks = []
    for number, lm in enumerate(lms):

        def meet(module, args, number=number):
            if number not in seen:
                seen[number] = (threading.get_ident(), torch.is_inference_mode_enabled())
                barrier.wait()

        hooks.append(lm.model.register_forward_pre_hook(meet))
    try:
        decoders = [ParallelDecoder(lm, ENCODER, LIMITS) for lm in lms]
        ParallelSpread(decoders).decode(texts, LABELS)
    finally:
        for hook in hooks:
            hook.remove()
    threads, without_gradients = zip(*seen.values(), strict=True)
    assert len(set(threads)) == 2
    assert without_gradients == (True, True)


def test_no_thread_outlives_the_call_and_one_share_needs_none(monkeypatch):
    before = threading.active_count()
    spread = ParallelSpread(parallel_decoders(random_lm("llama", "en", "causal", 1), 3))
    spread.decode(TEXTS["en"], LABELS)
    assert threading.active_count() == before
    monkeypatch.setattr(threading.Thread, "start", None)
    (found,) = spread.decode(TEXTS["en"][:1], LABELS[:1])
    assert {mention.label for mention in found} == set(LABELS[:1])


@pytest.mark.parametrize("texts", [TEXTS["en"][:1], TEXTS["en"]], ids=["labels", "texts"])
@pytest.mark.parametrize("failing", [0, 1])
def test_what_fails_in_a_replica_is_an_error(texts, failing, monkeypatch):
    class Failure(Exception):
        pass

    def fail(*args, **kwargs):
        raise Failure("here")

    decoders = parallel_decoders(random_lm("llama", "en", "causal", 1), 2)
    monkeypatch.setattr(decoders[failing].lm.model, "forward", fail)
    with pytest.raises(Failure, match="here"):
        ParallelSpread(decoders).decode(texts, LABELS)
    # The other has done its part.
    assert decoders[1 - failing].cost.passes > 0


def test_a_text_longer_than_the_positions():
    longer = TokenizedText("a" * 120, ((0, 1),))
    spread = ParallelSpread(parallel_decoders(random_lm("llama", "en", "causal", 1), 2))
    for texts in ([longer], [TEXTS["en"][0], longer], [*TEXTS["en"], longer]):
        with pytest.raises(TextTooLongError, match=r"P023.* 128 positions.*get_spans"):
            spread.decode(texts, LABELS)
    assert spread.decode(TEXTS["en"][:1], LABELS)[0]


@pytest.mark.parametrize("count", COUNTS)
def test_no_texts_no_labels_and_nothing_in_a_text(count):
    spread = ParallelSpread(parallel_decoders(random_lm("llama", "en", "causal", 1), count))
    outputs = TextSpread(autoregressive("structured", count))
    empty = TokenizedText("", ())
    for each in (spread, outputs):
        assert each.decode([], LABELS) == []
        assert each.decode(TEXTS["en"], []) == [[]] * len(TEXTS["en"])
    assert spread.decode([empty], LABELS) == [[]]
    found = spread.decode([empty, TEXTS["en"][0], empty], LABELS)
    assert_same(found, [[], spread.decode(TEXTS["en"][:1], LABELS)[0], []])


@given(loads, counts)
def test_shares_hold_everything_and_are_about_alike(loads, shares):
    made = balance(loads, shares)
    assert sorted(chain(*made)) == list(range(len(loads)))
    assert len(made) == min(shares, len(loads))
    assert all(share == sorted(share) for share in made)
    totals = [sum(loads[item] for item in share) for share in made]
    # Whatever came to a share last came to the one with the least.
    for share, total in zip(made, totals, strict=True):
        assert total - min(loads[item] for item in share) <= min(totals)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=5), loads, st.integers(0, 6))
def test_teams(lengths, loads, more):
    sizes = size_teams(lengths, [1, *loads], len(lengths) + more)
    n_labels = len(loads) + 1
    assert sum(sizes) == min(len(lengths) + more, len(lengths) * n_labels)
    assert all(1 <= size <= n_labels for size in sizes)
    # A longer text has no fewer.
    by_length = sorted(zip(lengths, sizes, strict=True))
    assert all(b[1] >= a[1] for a, b in pairwise(by_length) if a[0] < b[0])


def test_what_runs_together_is_given_back_in_order():
    order = [threading.Event(), threading.Event()]

    def first() -> str:
        assert order[1].wait(60)
        return "a"

    def second() -> str:
        order[1].set()
        return "b"

    assert run_together([first, second]) == ["a", "b"]
    assert run_together([]) == []
