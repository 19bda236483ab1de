from __future__ import annotations

import copy
from itertools import chain

import pytest
import torch

from spacy_padellm.decode.parallel import ParallelDecoder
from spacy_padellm.decode.replicas import Replicas, copy_weights, replicate
from spacy_padellm.limits import MentionLimits
from spacy_padellm.prompt.encoder import PromptEncoder
from spacy_padellm.prompt.template import TEMPLATES
from spacy_padellm.tree import causal_lm
from spacy_padellm.tree.causal_lm import CausalLM
from tests.sample_texts import TEXTS
from tests.sample_tokenizers import WORDINGS, small_tokenizer
from tests.tiny_models import FAMILIES, random_lm, tiny_model

META = "meta"


def fresh_lm(family: str = "llama", **changes) -> CausalLM:
    """A model of the test's own, as it is changed."""
    tokenizer = small_tokenizer("en")
    return CausalLM(tiny_model(family, vocab_size=len(tokenizer), **changes), tokenizer)


def tensors(lm: CausalLM) -> list[torch.Tensor]:
    return list(chain(lm.model.parameters(), lm.model.buffers()))


def memory(lm: CausalLM) -> list[int]:
    return [tensor.data_ptr() for tensor in tensors(lm)]


def found_by(lm: CausalLM):
    encoder = PromptEncoder(TEMPLATES["en"], WORDINGS["en"], lm.tokenizer)
    decoder = ParallelDecoder(lm, encoder, MentionLimits(4, 4))
    return decoder.decode(TEXTS["en"], list(WORDINGS["en"]))


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
    lm = random_lm("llama", "en", "bidirectional").forced("recomputed")
    monkeypatch.setattr(causal_lm, "probe_tree_support", None)
    _, replica = replicate(lm, ["cpu", "cpu"])
    assert (replica.support, replica.prefix_attention) == (lm.support, "bidirectional")


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


def test_without_devices_there_is_the_model():
    lm = fresh_lm()
    replicas = Replicas()
    replicas.outdate()
    replicas.renew()
    assert replicas.of(lm) == [lm]


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
