"""Models of any shape with random weights, for what does not depend on what they know."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PretrainedConfig

from ..checkpoints.options import get_dtype
from ..errors import Errors
from ..tree.causal_lm import CausalLM

_LLAMA: dict[str, Any] = {"model_type": "llama", "vocab_size": 32000}
# `tiny` is for counting passes and tokens, which are the same for every shape.
SHAPES: Mapping[str, dict[str, Any]] = {
    "tiny": {
        **_LLAMA,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "max_position_embeddings": 4096,
    },
    # JackFram/llama-160m
    "llama-160m": {
        **_LLAMA,
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-6,
    },
    # meta-llama/Llama-2-7b-hf
    "llama2-7b": {
        **_LLAMA,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "max_position_embeddings": 4096,
    },
}


def build_random_lm(
    shape: str, tokenizer: str, *, device: str = "cpu", dtype: str = "float32", seed: int = 0
) -> CausalLM:
    """shape (str): A name of `SHAPES`, or a model's `config.json`.
    tokenizer (str): A tokenizer's folder or hub id.
    device (str): Where to run.
    dtype (str): What weights are kept in.
    seed (int): Seed of the weights.
    RETURNS (CausalLM): The model, in evaluation mode.
    RAISES (ValueError): There is no such shape or tokenizer, or the model's vocabulary is smaller
        than the tokenizer's.
    """
    config = _load_config(shape)
    torch_dtype = get_dtype(dtype)
    try:
        loaded = AutoTokenizer.from_pretrained(tokenizer)
    except Exception as error:  # each tokenizer library has its own
        raise ValueError(Errors.P042.format(name=tokenizer, error=error)) from error
    if len(loaded) > config.vocab_size:
        raise ValueError(
            Errors.P406.format(tokens=len(loaded), shape=shape, size=config.vocab_size)
        )
    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, torch_dtype=torch_dtype)
    return CausalLM(model.eval(), loaded).to(device)


def _load_config(shape: str) -> PretrainedConfig:
    if shape in SHAPES:
        return AutoConfig.for_model(**SHAPES[shape])
    path = Path(shape)
    if not path.is_file():
        raise ValueError(Errors.P405.format(shape=shape, names=", ".join(SHAPES)))
    try:
        return AutoConfig.for_model(**json.loads(path.read_text(encoding="utf8")))
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(Errors.P407.format(path=path, error=error)) from error
