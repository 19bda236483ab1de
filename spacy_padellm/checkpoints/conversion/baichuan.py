"""Load 7B Baichuan checkpoints as Llama models, without the code that comes with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from ...errors import Errors
from ..files import CheckpointFiles, check_complete, loading_errors
from ..options import get_dtype

# Entries with the same name and meaning in Llama's configuration.
_SAME_ENTRIES = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "hidden_act",
    "max_position_embeddings",
    "initializer_range",
    "rms_norm_eps",
    "use_cache",
    "pad_token_id",
    "bos_token_id",
    "eos_token_id",
)
# Marks of the first generation: the class of its 7B model, and its vocabulary size (7B and 13B).
_FIRST_CLASS, _FIRST_VOCABULARY = "BaiChuanForCausalLM", 64000
_WIDTH_OF_13B = 5120
_HEAD = "lm_head.weight"
# Number of rows of the head to normalise at a time.
_ROWS = 8192


def load_baichuan(files: CheckpointFiles, arguments: Mapping[str, Any]) -> LlamaForCausalLM:
    """Load a 7B Baichuan model of the first or second generation as a Llama.

    The weight that holds queries, keys and values together is split. The second generation
    normalises the rows of its head in every pass. Here they are normalised once.

    Args:
        files: The files of the checkpoint.
        arguments: Keyword arguments of `from_pretrained`.

    Raises:
        ValueError: The model cannot run as a Llama, or weights are missing or left over.
    """
    name, config = files.name, files.config
    if (reason := _obstacle(config)) is not None:
        raise ValueError(Errors.P060.format(name=name, reason=reason))
    weights = files.read_weights()
    dtype = arguments["torch_dtype"]
    if dtype == "auto":
        dtype = _stored_dtype(config, weights)
    same = {entry: config[entry] for entry in _SAME_ENTRIES if entry in config}
    with loading_errors(name):
        model: LlamaForCausalLM
        model, report = LlamaForCausalLM.from_pretrained(
            None,
            config=LlamaConfig(**same, tie_word_embeddings=False),
            state_dict=_llama_weights(weights, dtype, normalize=_has_norm_head(config)),
            output_loading_info=True,
            **{**arguments, "torch_dtype": dtype},
        )
    check_complete(name, report["missing_keys"])
    if left_over := report["unexpected_keys"]:
        raise ValueError(Errors.P062.format(name=name, count=len(left_over), first=min(left_over)))
    return model


def _obstacle(config: Mapping[str, Any]) -> str | None:
    """Say why a model cannot run as a Llama; `None` if it can."""
    if "max_position_embeddings" not in config or config.get("hidden_size") == _WIDTH_OF_13B:
        return "it uses ALiBi attention, like the 13B Baichuan models"
    if config.get("quantization_config"):
        return "its weights are stored quantized"
    return None


def _has_norm_head(config: Mapping[str, Any]) -> bool:
    is_first = _FIRST_CLASS in (config.get("architectures") or ())
    return not is_first and config.get("vocab_size") != _FIRST_VOCABULARY


def _stored_dtype(config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> torch.dtype:
    """Find the stored dtype: that of the configuration or, if it states none, of the weights."""
    stated = config.get("dtype") or config.get("torch_dtype")
    if stated:
        return get_dtype(stated)
    return next((weight.dtype for weight in weights.values()), torch.float32)


def _llama_weights(
    weights: Mapping[str, Tensor], dtype: torch.dtype, *, normalize: bool
) -> dict[str, Tensor]:
    """Convert weights to Llama's. All but a normalised head stay mapped from their files."""
    converted: dict[str, Tensor] = {}
    for name, weight in weights.items():
        if name.endswith("W_pack.weight"):
            for part, rows in zip(("q_proj", "k_proj", "v_proj"), weight.chunk(3), strict=True):
                converted[name.replace("W_pack", part)] = rows
        elif name == _HEAD and normalize:
            converted[name] = _normalize_rows(weight, dtype)
        elif not name.endswith("rotary_emb.inv_freq"):  # computed, not learnt
            converted[name] = weight
    return converted


def _normalize_rows(weight: Tensor, dtype: torch.dtype) -> Tensor:
    normalized = torch.empty_like(weight, dtype=dtype)
    for rows, source in zip(normalized.split(_ROWS), weight.split(_ROWS), strict=True):
        rows.copy_(functional.normalize(source.float()))
    return normalized
