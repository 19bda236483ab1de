from __future__ import annotations

import copy
import inspect
import logging
from typing import ClassVar

import pytest
import torch
from transformers import LlamaForCausalLM

from spacy_padellm.tree import causal_lm
from spacy_padellm.tree.causal_lm import CausalLM
from spacy_padellm.tree.kv_cache import KVCache
from spacy_padellm.tree.probe import PassCost, measure_cost, probe_tree_support
from spacy_padellm.tree.run import TreeSupport
from tests.tiny_models import FAMILIES, plain_logits, tiny_lm, tiny_model

SEQUENCES = TreeSupport("sequences", None)


class Deaf(LlamaForCausalLM):
    """Leaves something out of what it is told."""

    ignored: ClassVar[set[str]] = set()

    def forward(self, **inputs):
        heard = {name: value for name, value in inputs.items() if name not in self.ignored}
        return super().forward(**heard)


# What a model knows is read from its signature.
Deaf.forward.__signature__ = inspect.signature(LlamaForCausalLM.forward)


class IgnoresMask(Deaf):
    ignored: ClassVar[set[str]] = {"attention_mask"}


class IgnoresPositions(Deaf):
    ignored: ClassVar[set[str]] = {"position_ids"}


class IgnoresCache(Deaf):
    ignored: ClassVar[set[str]] = {"past_key_values", "cache", "cache_position"}


class KnowsNoPositions(LlamaForCausalLM):
    def forward(self, input_ids, attention_mask=None, use_cache=False, return_dict=True):
        return super().forward(input_ids=input_ids, attention_mask=attention_mask)


class RefusesMask(LlamaForCausalLM):
    def forward(self, input_ids, attention_mask=None, position_ids=None, **rest):
        if attention_mask is not None and attention_mask.dim() > 2:
            raise ValueError("a mask of two dimensions, please")
        return super().forward(input_ids=input_ids, attention_mask=attention_mask)


class MasksByRow(LlamaForCausalLM):
    """Applies the first row's mask to the whole batch."""

    def forward(self, input_ids, attention_mask=None, position_ids=None, **rest):
        if attention_mask is not None:
            attention_mask = attention_mask[:1].expand(len(input_ids), *attention_mask.shape[1:])
        return super().forward(
            input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids, **rest
        )


@pytest.mark.parametrize(
    "wrong, support",
    [
        (IgnoresMask, SEQUENCES),
        (IgnoresPositions, SEQUENCES),
        (KnowsNoPositions, SEQUENCES),
        (RefusesMask, SEQUENCES),
        (IgnoresCache, TreeSupport("recomputed", "4d")),
        (LlamaForCausalLM, TreeSupport("cached", "4d", in_halves=True)),
    ],
)
def test_a_way_with_wrong_logits_is_rejected(wrong, support):
    assert probe_tree_support(wrong(tiny_model("llama").config)) == support


def test_a_cache_whose_slots_cannot_be_moved_is_not_used(monkeypatch):
    def stay(self, rows, slots):
        raise AttributeError("another kind of cache")

    monkeypatch.setattr(KVCache, "move", stay)
    assert probe_tree_support(tiny_model("llama")) == TreeSupport("recomputed", "4d")


def test_what_was_found_is_logged(caplog):
    with caplog.at_level("INFO", logger="spacy_padellm"):
        probe_tree_support(tiny_model("bloom"))
    assert "BloomForCausalLM: trees run as sequences" in caplog.text


@pytest.mark.parametrize("implementation", ["flash_attention_2", "flash_attention_3"])
def test_flash_attention_is_refused(implementation):
    model = tiny_model("llama")
    model.config._attn_implementation = implementation
    with pytest.raises(ValueError, match=r"P020.*attn_implementation='sdpa'"):
        probe_tree_support(model)


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_other_attention_is_not(implementation):
    model = tiny_model("llama")
    model.config._attn_implementation = implementation
    assert probe_tree_support(model).way == "cached"


def test_the_language_model_of_a_larger_one():
    model = tiny_model("llama")
    text_config = copy.deepcopy(model.config)
    model.config.text_config = text_config
    with pytest.raises(ValueError, match=r"P046.*LlamaForCausalLM.*the language model alone"):
        probe_tree_support(model)


@pytest.mark.parametrize("family", FAMILIES)
def test_model_and_random_state_stay_as_they_were(family):
    model = tiny_model(family)
    config = model.config.to_dict()
    before = plain_logits(model, [5, 6, 7])
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    probe_tree_support(model)
    assert torch.equal(torch.rand(1), expected)
    assert model.config.to_dict() == config
    assert torch.equal(plain_logits(model, [5, 6, 7]), before)


@pytest.mark.parametrize(
    "family, changes, window",
    [
        ("mistral", {"sliding_window": 8}, 8),
        ("mistral", {"sliding_window": None}, None),
        ("gemma2", {"sliding_window": 8}, 8),
        ("gemma2", {"sliding_window": 100}, 100),
        ("phi3", {"sliding_window": 8}, 8),
        (
            "qwen2",
            {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1},
            8,
        ),
        # A kind of layer that comes late.
        (
            "qwen2",
            {
                "use_sliding_window": True,
                "sliding_window": 8,
                "num_hidden_layers": 4,
                "max_window_layers": 3,
            },
            8,
        ),
        ("qwen2", {"use_sliding_window": False, "sliding_window": 8}, None),
    ],
)
def test_a_window_limits_the_depth(family, changes, window):
    support = probe_tree_support(tiny_model(family, **changes))
    assert support == TreeSupport("cached", "4d", window, in_halves=True)


def test_a_model_in_half_precision_can_be_probed():
    assert probe_tree_support(tiny_model("llama").bfloat16()).way == "cached"


@pytest.mark.parametrize("family", ["llama", "bloom"])
def test_what_a_pass_takes_is_measured_and_logged(family, caplog):
    lm = CausalLM(tiny_model(family), tiny_lm(family).tokenizer)
    with caplog.at_level(logging.INFO, logger="spacy_padellm"):
        cost = measure_cost(lm.call, lm.support)
    assert cost.run >= 0 and cost.token > 0
    logged = [each.getMessage() for each in caplog.records if "each token" in each.getMessage()]
    assert len(logged) == 1 and f"{1e3 * cost.token:.3f} ms" in logged[0]


def test_it_is_measured_once_on_each_device(monkeypatch):
    lm = CausalLM(tiny_model("llama"), tiny_lm("llama").tokenizer)
    measured = []

    def measure(call, support, longest):
        measured.append((call, support, longest))
        return PassCost(1.0, len(measured))

    monkeypatch.setattr(causal_lm, "measure_cost", measure)
    assert lm.pass_cost is lm.pass_cost
    assert measured == [(lm.call, lm.support, lm.max_depth)]
    assert lm.to("cpu").pass_cost == PassCost(1.0, 2)


@pytest.mark.parametrize("longest", [2, 5, 40])
def test_a_model_with_few_positions_is_timed_too(longest):
    lm = CausalLM(tiny_model("gpt2", n_positions=longest), tiny_lm("gpt2").tokenizer)
    assert measure_cost(lm.call, lm.support, longest=lm.max_depth).token > 0
