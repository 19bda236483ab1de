"""Tiny random models of every family, and plain runs of one sequence to compare with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
import transformers as hf
from torch import Tensor
from transformers import PreTrainedModel

from spacy_padellm.tree.causal_lm import CausalLM
from tests.sample_tokenizers import TRANSFORMERS_5, small_tokenizer

_HEADS: dict[str, Any] = {"num_attention_heads": 4}
_LAYERS: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, **_HEADS}
_LLAMA: dict[str, Any] = {"intermediate_size": 64, "num_key_value_heads": 2, **_LAYERS}
_GEMMA: dict[str, Any] = {**_LLAMA, "head_dim": 8}
_TOKENS: dict[str, Any] = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}

# Family → model class, configuration class, its entries. All have 128 positions, but BLOOM, which
# needs none.
FAMILIES: dict[str, tuple[Callable, Callable, dict[str, Any]]] = {
    "llama": (hf.LlamaForCausalLM, hf.LlamaConfig, _LLAMA),
    "mistral": (hf.MistralForCausalLM, hf.MistralConfig, {**_LLAMA, "sliding_window": None}),
    "qwen2": (hf.Qwen2ForCausalLM, hf.Qwen2Config, _LLAMA),
    "qwen3": (hf.Qwen3ForCausalLM, hf.Qwen3Config, {**_LLAMA, "head_dim": 8}),
    "gpt-neox": (
        hf.GPTNeoXForCausalLM,
        hf.GPTNeoXConfig,
        {**_LAYERS, "intermediate_size": 64},
    ),
    "gpt2": (hf.GPT2LMHeadModel, hf.GPT2Config, {"n_embd": 32, "n_layer": 2, "n_head": 4}),
    "gemma": (hf.GemmaForCausalLM, hf.GemmaConfig, _GEMMA),
    "gemma2": (hf.Gemma2ForCausalLM, hf.Gemma2Config, {**_GEMMA, "sliding_window": 64}),
    "phi3": (hf.Phi3ForCausalLM, hf.Phi3Config, _LLAMA),
    "opt": (
        hf.OPTForCausalLM,
        hf.OPTConfig,
        {**_LAYERS, "ffn_dim": 64, "word_embed_proj_dim": 32},
    ),
    "bert": (
        hf.BertLMHeadModel,
        hf.BertConfig,
        {**_LAYERS, "intermediate_size": 64, "is_decoder": True},
    ),
    "bloom": (hf.BloomForCausalLM, hf.BloomConfig, {"hidden_size": 32, "n_layer": 2, "n_head": 4}),
}
VOCABULARY = 99


def tiny_model(
    family: str, *, vocab_size: int = VOCABULARY, seed: int = 0, **changes: Any
) -> PreTrainedModel:
    """A model with random weights, larger than at initialisation: attention to the wrong places
    has to show in the logits.
    """
    model_class, config_class, entries = FAMILIES[family]
    positions = {} if family == "bloom" else {"max_position_embeddings": 128}
    if family == "gpt2":
        positions = {"n_positions": 128}
    config = config_class(
        **{"vocab_size": vocab_size, **_TOKENS, **positions, **entries, **changes}
    )
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        model = model_class(config).eval()
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            size = 1.5 * parameter.shape[-1] ** -0.5
            parameter.data.normal_(std=size, generator=generator)
        elif name.endswith("bias"):
            parameter.data.normal_(std=0.2, generator=generator)
    return model


@cache
def tiny_lm(family: str, prefix_attention: str = "causal", **changes: Any) -> CausalLM:
    """The model, probed once."""
    model = tiny_model(family, **changes)
    bidirectional = prefix_attention == "bidirectional"
    return CausalLM(model, small_tokenizer("en"), bidirectional_prefix=bidirectional)


def plain_logits(model: PreTrainedModel, ids: Sequence[int]) -> Tensor:
    """Next-token logits at every place of one sequence, as the model itself computes them."""
    return model(input_ids=torch.tensor([list(ids)])).logits[0]


def prefix_lm_logits(model: PreTrainedModel, ids: Sequence[int], prefix: int) -> Tensor:
    """The same with a prefix that attends in both directions, its mask written out."""
    size = len(ids)
    visible = torch.ones(size, size).tril()
    visible[:prefix, :prefix] = 1
    if isinstance(model, hf.BertLMHeadModel) and not TRANSFORMERS_5:
        mask = visible[None]  # all that version 4 lets a BERT decoder have
    else:
        mask = torch.where(visible == 1, 0.0, torch.finfo(torch.float32).min)[None, None]
    # OPT would take its positions from the mask.
    positions = torch.arange(size)[None]
    return model(
        input_ids=torch.tensor([list(ids)]), attention_mask=mask, position_ids=positions
    ).logits[0]


@cache
# It is kept for tests that train it, too, whichever asks first.
@torch.inference_mode(False)
def random_lm(
    family: str, lang: str = "en", prefix_attention: str = "causal", seed: int = 0
) -> CausalLM:
    """A model that writes with a trained tokenizer."""
    tokenizer = small_tokenizer(lang)
    model = tiny_model(family, vocab_size=len(tokenizer), seed=seed)
    bidirectional = prefix_attention == "bidirectional"
    return CausalLM(model, tokenizer, bidirectional_prefix=bidirectional)


def ways_of(lm: CausalLM) -> list[str]:
    """What the probe found, and what is slower."""
    ways = ["cached", "recomputed", "sequences"]
    return ways[ways.index(lm.support.way) :]
