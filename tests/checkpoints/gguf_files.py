"""Tiny GGUF files, written as llama.cpp's converter writes them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from sentencepiece import sentencepiece_model_pb2
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, PreTrainedTokenizerFast

from tests.sentencepiece_models import baichuan_model

gguf = pytest.importorskip("gguf")

# llama.cpp's names for the parts of a Gemma 3.
_PARTS = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
WIDTH, DEPTH, WINDOW = 64, 2, 64


def gemma(vocab_size: int) -> Gemma3ForCausalLM:
    """A Gemma 3 with random weights."""
    torch.manual_seed(0)
    config = Gemma3TextConfig(
        vocab_size=vocab_size,
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=DEPTH,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        sliding_window=WINDOW,
        max_position_embeddings=512,
        initializer_range=0.2,
        pad_token_id=0,
    )
    model = Gemma3ForCausalLM(config).eval()
    for name, weight in model.named_parameters():
        if name.endswith("norm.weight"):
            torch.nn.init.normal_(weight, std=0.2)
    return model


def write_gguf(
    path: Path,
    model: Gemma3ForCausalLM,
    /,
    kind: str = "F32",
    leave_out: Sequence[str] = (),
    **tokenizer: Any,
) -> Path:
    """Write a Gemma 3 with the entries of a tokenizer.

    Args:
        path: The file.
        model: The model.
        kind: How matrices are stored, by llama.cpp's name.
        leave_out: Tensors to leave out, by llama.cpp's names.
        tokenizer: The entries of its tokenizer.
    """
    config = model.config
    writer = gguf.GGUFWriter(path, tokenizer.pop("arch", "gemma3"))
    writer.add_name("tiny")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_sliding_window(config.sliding_window)
    writer.add_rope_freq_base(1e6)
    for name, value in (sentencepiece_entries() | tokenizer).items():
        if value is not None:
            add = writer.add_array if isinstance(value, list) else writer.add_key_value
            kinds = {bool: gguf.GGUFValueType.BOOL, int: gguf.GGUFValueType.UINT32}
            of_value = kinds.get(type(value), gguf.GGUFValueType.STRING)
            add(f"tokenizer.ggml.{name}", value, *([] if isinstance(value, list) else [of_value]))
    for name, weight in model.state_dict().items():
        if (stored := _name(name)) is None or stored in leave_out:
            continue
        values = weight.numpy()
        if stored.endswith("norm.weight"):
            # llama.cpp multiplies by the weight alone.
            writer.add_tensor(stored, values + 1)
        else:
            stored_as = gguf.GGMLQuantizationType[kind]
            quantized = gguf.quants.quantize(values, stored_as)
            writer.add_tensor(stored, quantized, raw_dtype=stored_as)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def sentencepiece_entries() -> dict[str, Any]:
    """The entries of a SentencePiece vocabulary."""
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(baichuan_model())
    return {
        "model": "llama",
        "tokens": [piece.piece for piece in model.pieces],
        "scores": [piece.score for piece in model.pieces],
        "token_type": [piece.type for piece in model.pieces],
        "unknown_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "add_bos_token": True,
        "add_space_prefix": False,
    }


def byte_pair_entries(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """The entries of a tokenizer of byte pairs, as GPT-2's."""
    stored = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    tokens = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().__getitem__)
    special, added = set(tokenizer.all_special_tokens), tokenizer.get_added_vocab()
    return {
        "model": "gpt2",
        "tokens": tokens,
        "scores": None,
        "token_type": [3 if t in special else 4 if t in added else 1 for t in tokens],
        "merges": [" ".join(pair) for pair in stored["merges"]],
        "unknown_token_id": None,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "add_bos_token": None,
        "add_space_prefix": None,
    }


def _name(name: str) -> str | None:
    """llama.cpp's name of a weight; `None` for the output layer, which is tied."""
    if name == "lm_head.weight":
        return None
    if not name.startswith("model.layers."):
        whole = {"model.embed_tokens.weight": "token_embd", "model.norm.weight": "output_norm"}
        return f"{whole[name]}.weight"
    _, _, layer, part = name.removesuffix(".weight").split(".", 3)
    return f"blk.{layer}.{_PARTS[part]}.weight"
