from __future__ import annotations

import copy
import threading
from itertools import chain, pairwise, takewhile

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spacy_padellm.decode.decoder import ParallelDecoder
from spacy_padellm.decode.replicas import (
    Replicas,
    SharedDecoder,
    copy_weights,
    replicate,
    run_together,
    size_teams,
)
from spacy_padellm.prompt.encoder import PromptEncoder
from spacy_padellm.texts import TokenizedText
from spacy_padellm.tree import causal_lm
from spacy_padellm.tree.causal_lm import CausalLM, TextTooLongError
from tests.decode.decoders import assert_same, decode, make_decoder, outcome, sure_lm
from tests.sample_texts import TEXTS, tokenized_texts
from tests.sample_tokenizers import WORDINGS, small_tokenizer
from tests.tiny_models import FAMILIES, random_lm, tiny_model, ways_of
from tests.trained import TEXTS as LEARNT
from tests.trained import trained_lm

META = "meta"
LABELS = list(WORDINGS["en"])
COUNTS = [2, 3, 5]

counts = st.integers(1, 6)
some_labels = st.lists(st.sampled_from(LABELS), min_size=1, unique=True)
loads = st.lists(st.integers(1, 60), max_size=20)


def fresh_lm(family: str = "llama", **changes) -> CausalLM:
    """A model of the test's own, as it is changed."""
    tokenizer = small_tokenizer("en")
    return CausalLM(tiny_model(family, vocab_size=len(tokenizer), **changes), tokenizer)


def tensors(lm: CausalLM) -> list[torch.Tensor]:
    return list(chain(lm.model.parameters(), lm.model.buffers()))


def memory(lm: CausalLM) -> list[int]:
    return [tensor.data_ptr() for tensor in tensors(lm)]


def found_by(lm: CausalLM):
    return decode(make_decoder(lm), TEXTS["en"])


def change(lm: CausalLM) -> None:
    with torch.no_grad():
        for parameter in lm.model.parameters():
            parameter.mul_(-0.5)


@pytest.mark.parametrize("family", FAMILIES)
def test_replicas_on_a_device_share_weights_and_nothing_else(family):
    lm = random_lm(family)
    first, *others = replicate(lm, ["cpu", "cpu", "cpu"])
    assert first is lm
    expected = found_by(lm)
    modules = set(map(id, lm.model.modules()))
    for replica in others:
        assert memory(replica) == memory(lm)
        own = list(map(id, replica.model.modules()))
        assert modules.isdisjoint(own)
        modules |= set(own)
        assert found_by(replica) == expected


def test_no_replica_is_probed(monkeypatch):
    lm = random_lm("llama", "en", "bidirectional").run_as("recomputed")
    monkeypatch.setattr(causal_lm, "probe_tree_support", None)
    _, replica = replicate(lm, ["cpu", "cpu"])
    assert replica.support == lm.support
    assert replica.bidirectional_prefix


def test_a_replica_on_another_device_is_a_copy_there():
    lm = fresh_lm()
    before = memory(lm)
    first, second, third = replicate(lm, [META, "cpu", META])
    assert second is lm and memory(lm) == before
    for replica in (first, third):
        assert {tensor.device.type for tensor in tensors(replica)} == {META}
        assert [tensor.shape for tensor in tensors(replica)] == [t.shape for t in tensors(lm)]
    assert first is not third and first.model is not third.model


def test_tied_weights_stay_tied():
    lm = fresh_lm("gpt2")
    for replica in replicate(lm, ["cpu", "cpu", META])[1:]:
        head = replica.model.get_output_embeddings()
        assert head.weight is replica.model.get_input_embeddings().weight


def test_weights_on_the_same_device_are_those_of_the_model_whatever_happens():
    lm = fresh_lm()
    _, replica = replicate(lm, ["cpu", "cpu"])
    before = found_by(replica)
    change(lm)
    assert found_by(replica) == found_by(lm) != before


def test_what_is_moved_away_leaves_its_replicas_where_they_are():
    lm = fresh_lm()
    expected = found_by(lm)
    _, replica = replicate(lm, ["cpu", "cpu"])
    lm.to(META)
    assert found_by(replica) == expected


def test_weights_are_copied_where_they_are_others():
    lm = fresh_lm()
    _, sharing = replicate(lm, ["cpu", "cpu"])
    apart = CausalLM(copy.deepcopy(lm.model), lm.tokenizer, support=lm.support)
    before = memory(apart)
    change(lm)
    assert found_by(apart) != found_by(lm)
    copy_weights(lm, [lm, sharing, apart])
    assert found_by(apart) == found_by(lm)
    assert memory(apart) == before and memory(sharing) == memory(lm)


def test_replicas_are_made_once_and_renewed_when_outdated(monkeypatch):
    lm, other = fresh_lm(), fresh_lm(seed=1)
    replicas = Replicas(["cpu", "cpu"])
    first = replicas.of(lm)
    assert replicas.of(lm) is first
    copied = []
    monkeypatch.setattr(
        "spacy_padellm.decode.replicas.copy_weights", lambda lm, to: copied.append((lm, to))
    )
    replicas.renew()
    assert copied == []
    replicas.outdate()
    replicas.renew()
    replicas.renew()
    assert copied == [(lm, first)]
    replicas.outdate()
    assert replicas.of(lm) is first
    assert copied == [(lm, first)] * 2
    # Those of another model have its weights from the start.
    replicas.outdate()
    second = replicas.of(other)
    assert second[0] is other and memory(second[1]) == memory(other)
    assert copied == [(lm, first)] * 2


def test_replicas_that_nobody_asked_for_are_not_made():
    lm = fresh_lm()
    replicas = Replicas(["cpu", "nowhere"])
    replicas.outdate()
    replicas.renew()
    assert replicas.devices == ("cpu", "nowhere")
    with pytest.raises(ValueError, match="P045"):
        replicas.of(lm)
    assert Replicas(["cpu"]).of(lm) == [lm]


@pytest.mark.parametrize("name", ["nowhere", "cuda:99"])
def test_no_such_device(name):
    with pytest.raises(ValueError, match=rf"(?s)P045.*'{name}'.*Name a device"):
        replicate(fresh_lm(), ["cpu", name])


def test_models_that_cannot_be_copied():
    lm = fresh_lm()
    lm.model.is_quantized = True
    with pytest.raises(ValueError, match=r"P066.*LlamaForCausalLM.*'cpu': its weights are quant"):
        replicate(lm, ["cpu", "cpu"])
    lm = fresh_lm()
    lm.model.lm_head.to(META)
    with pytest.raises(ValueError, match=r"P066.*spread over several devices.*`device`"):
        replicate(lm, ["cpu", "cpu"])
    # Nothing is copied for one.
    assert replicate(lm, ["cpu"]) == [lm]


# What they find together


def parallel_decoders(lm: CausalLM, count: int, **changes) -> list[ParallelDecoder]:
    first = make_decoder(lm, **{"softmax": "admissible", **changes})
    _, *others = replicate(lm, ["cpu"] * count)
    encoder, trained, options = first.encoder, first.settings, first.options
    return [first, *(ParallelDecoder(each, encoder, trained, options) for each in others)]


@settings(max_examples=60)
@given(
    texts=st.lists(tokenized_texts(), max_size=8),
    labels=some_labels,
    count=counts,
    prefix=st.sampled_from(["causal", "bidirectional"]),
    softmax=st.sampled_from(["vocabulary", "admissible"]),
    threshold=st.sampled_from([None, 0.07]),
    batch_tokens=st.sampled_from([60, 1024]),
    seed=st.integers(0, 3),
    text_tags=st.booleans(),
)
def test_replicas_find_what_one_finds(
    texts, labels, count, prefix, softmax, threshold, batch_tokens, seed, text_tags
):
    decoders = parallel_decoders(
        random_lm("llama", "en", prefix, seed),
        count,
        labels=labels,
        softmax=softmax,
        draft_threshold=threshold,
        batch_tokens=batch_tokens,
        text_tags=text_tags,
    )
    expected = outcome(decoders[0], texts)
    assert_same(outcome(SharedDecoder(decoders), texts, decoders[0]), expected)


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
def test_replicas_find_what_one_finds_in_every_way(family, count):
    """Texts of which something is found, fewer and more than replicas, with tags and without."""
    n_found = n_named = 0
    whole = sure_lm(family, "bidirectional", 1)
    for lm in map(whole.run_as, ways_of(whole)):
        for text_tags in (True, False):
            decoders = parallel_decoders(lm, count, text_tags=text_tags)
            shared = SharedDecoder(decoders)
            for texts in (TEXTS["en"], TEXTS["en"][:1], TEXTS["en"][:2], TEXTS["en"] * 2):
                expected = decode(decoders[0], texts)
                # The model's logits are large.
                assert_same(decode(shared, texts, decoders[0]), expected, tolerance=1e-3)
                n_found += sum(map(len, expected))
                n_named += sum(m.log_prob is None for m in chain(*expected))
    assert n_found > 50 and n_named > 10


@pytest.mark.parametrize("count", COUNTS)
def test_replicas_find_what_was_learnt(count):
    lm, trained = trained_lm()
    decoders = parallel_decoders(lm, count, labels=trained.labels, softmax=trained.softmax)
    shared = SharedDecoder(decoders)
    for first in range(0, len(LEARNT), 3):
        for texts in (LEARNT[first : first + 3], LEARNT[first : first + 1]):
            found = decode(shared, [text.source for text in texts], decoders[0])
            for text, mentions in zip(texts, found, strict=True):
                string = text.source.text
                assert sorted((m.label, string[slice(*m.places[0])]) for m in mentions) == sorted(
                    (m.label, string[m.start : m.end]) for m in text.mentions
                )


def test_labels_of_a_single_text_are_divided(monkeypatch):
    decoders = parallel_decoders(random_lm("llama", "en", "causal", 1), 2, text_tags=True)
    written, read, listed = [], [], []
    write, stretches = ParallelDecoder.write, PromptEncoder.stretches

    def recording_write(self, texts, labels):
        written.append(labels)
        (found,) = write(self, texts, labels)
        # The replicas run at the same time, so their order is left to chance.
        read.append((labels, found))
        return [found]

    def recording_stretches(self, text, starts, ends):
        listed.append(text)
        return stretches(self, text, starts, ends)

    monkeypatch.setattr(ParallelDecoder, "write", recording_write)
    monkeypatch.setattr(PromptEncoder, "stretches", recording_stretches)
    decode(SharedDecoder(decoders), TEXTS["en"][:1], decoders[0])
    assert len(written) == 2
    assert sorted(chain(*written), key=LABELS.index) == LABELS
    # Each reads the tags of all labels, and opens none but its own.
    assert [found.tags.labels for _, found in read] == [tuple(LABELS)] * 2
    assert all(set(found.labels) <= set(own) for own, found in read)
    # What all of them may write is listed once.
    assert len(listed) == 1


def test_texts_keep_their_labels_where_there_are_enough(monkeypatch):
    decoders = parallel_decoders(random_lm("llama", "en", "causal", 1), 2)
    written = []
    write = ParallelDecoder.write

    def recording_write(self, texts, labels):
        written.append(([text.text for text in texts], labels))
        return write(self, texts, labels)

    monkeypatch.setattr(ParallelDecoder, "write", recording_write)
    decode(SharedDecoder(decoders), TEXTS["en"], decoders[0])
    # All that each text is asked for.
    assert [labels for _, labels in written] == [None] * 2
    strings = [text.text for text in TEXTS["en"]]
    assert sorted(chain(*(share for share, _ in written)), key=strings.index) == strings


def test_costs_add_up():
    """Of texts they are the same however they are shared; of labels it is what they begin with that
    is run twice.
    """
    lm = random_lm("llama", "en", "causal", 1)
    decoders = parallel_decoders(lm, 2, draft_threshold=None)
    (one,) = parallel_decoders(lm, 1, draft_threshold=None)
    shared, encoder = SharedDecoder(decoders), one.encoder
    branches = zip(*encoder.branches.values(), strict=False)
    alike = len(list(takewhile(lambda ids: len(set(ids)) == 1, branches)))
    assert shared.cost.passes == 0
    for texts in (TEXTS["en"], TEXTS["en"][:1]):
        before, of_one = shared.cost, one.cost.distinct_tokens
        decode(shared, texts, one)
        decode(one, texts)
        twice = len(encoder.encode(texts[0]).prefix) + alike if len(texts) == 1 else 0
        added = shared.cost.distinct_tokens - before.distinct_tokens
        assert added == one.cost.distinct_tokens - of_one + twice
        assert shared.cost.passes > before.passes
    assert shared.cost.passes == sum(decoder.cost.passes for decoder in decoders)
    assert shared.cost.tokens == sum(decoder.cost.tokens for decoder in decoders)


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
        decoders = [make_decoder(lm) for lm in lms]
        decode(SharedDecoder(decoders), texts, decoders[0])
    finally:
        for hook in hooks:
            hook.remove()
    threads, without_gradients = zip(*seen.values(), strict=True)
    assert len(set(threads)) == 2
    assert without_gradients == (True, True)


def test_no_thread_outlives_the_call_and_one_share_needs_none(monkeypatch):
    lm = random_lm("llama", "en", "causal", 1)
    before = threading.active_count()
    decoders = parallel_decoders(lm, 3)
    decode(SharedDecoder(decoders), TEXTS["en"], decoders[0])
    assert threading.active_count() == before
    monkeypatch.setattr(threading.Thread, "start", None)
    decoders = parallel_decoders(lm, 3, labels=LABELS[:1])
    (found,) = decode(SharedDecoder(decoders), TEXTS["en"][:1], decoders[0])
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
        decode(SharedDecoder(decoders), texts, decoders[0])
    # The other has done its part.
    assert decoders[1 - failing].cost.passes > 0


def test_a_text_longer_than_the_positions():
    longer = TokenizedText("a" * 120, ((0, 1),))
    decoders = parallel_decoders(random_lm("llama", "en", "causal", 1), 2)
    shared, encode = SharedDecoder(decoders), decoders[0].encoder.encode
    for texts in ([longer], [TEXTS["en"][0], longer], [*TEXTS["en"], longer]):
        with pytest.raises(TextTooLongError, match=r"P023.* 128 positions.*get_spans"):
            decode(shared, texts, decoders[0])
    assert decode(shared, TEXTS["en"][:1], decoders[0])[0]
    assert [shared.fits(encode(text)) for text in (longer, TEXTS["en"][0])] == [False, True]


@pytest.mark.parametrize("count", COUNTS)
def test_no_texts_no_labels_and_nothing_in_a_text(count):
    lm = random_lm("llama", "en", "causal", 1)
    empty = TokenizedText("", ())
    mute = parallel_decoders(lm, count, labels={})
    assert decode(SharedDecoder(mute), TEXTS["en"], mute[0]) == [[]] * len(TEXTS["en"])
    decoders = parallel_decoders(lm, count)
    shared = SharedDecoder(decoders)
    assert shared.decode([]) == SharedDecoder(mute).decode([]) == []
    assert decode(shared, [empty], decoders[0]) == [[]]
    found = decode(shared, [empty, TEXTS["en"][0], empty], decoders[0])
    assert_same(found, [[], decode(shared, TEXTS["en"][:1], decoders[0])[0], []])


@given(st.lists(st.integers(1, 60), min_size=1, max_size=5), loads, st.integers(0, 6))
def test_teams(lengths, loads, more):
    sizes = size_teams(lengths, [[1, *loads]] * len(lengths), len(lengths) + more)
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
