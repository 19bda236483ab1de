"""Tiny Baichuan checkpoints in the layout of the released ones, and what their code computes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import linear, normalize, silu

from tests.sentencepiece_models import baichuan_model

Layout = Literal["bin", "sharded bin", "safetensors", "sharded safetensors"]
LAYOUTS: tuple[Layout, ...] = ("bin", "sharded bin", "safetensors", "sharded safetensors")

WIDTH, HEADS, LAYERS, INNER, VOCABULARY = 32, 4, 2, 48, 512
CONFIG: dict[str, Any] = {
    "architectures": ["BaichuanForCausalLM"],
    "auto_map": {
        "AutoConfig": "configuration_baichuan.BaichuanConfig",
        "AutoModelForCausalLM": "modeling_baichuan.BaichuanForCausalLM",
    },
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": WIDTH,
    "initializer_range": 0.02,
    "intermediate_size": INNER,
    "max_position_embeddings": 512,
    "model_max_length": 512,
    "model_type": "baichuan",
    "num_attention_heads": HEADS,
    "num_hidden_layers": LAYERS,
    "pad_token_id": 0,
    "rms_norm_eps": 1e-06,
    "tie_word_embeddings": False,
    "tokenizer_class": "BaichuanTokenizer",
    "torch_dtype": "float32",
    "use_cache": True,
    "vocab_size": VOCABULARY,
    "z_loss_weight": 0,
}


def _token(content: str) -> dict[str, Any]:
    return {"__type": "AddedToken", "content": content, "lstrip": False, "normalized": True}


TOKENIZER_CONFIG: dict[str, Any] = {
    "add_bos_token": False,
    "add_eos_token": False,
    "auto_map": {"AutoTokenizer": ["tokenization_baichuan.BaichuanTokenizer", None]},
    "bos_token": _token("<s>"),
    "clean_up_tokenization_spaces": False,
    "eos_token": _token("</s>"),
    "model_max_length": 512,
    "pad_token": _token("<unk>"),
    "sp_model_kwargs": {},
    "tokenizer_class": "BaichuanTokenizer",
    "unk_token": _token("<unk>"),
}


def random_weights(config: Mapping[str, Any] = CONFIG, seed: int = 0) -> dict[str, Tensor]:
    """Larger than at initialisation, so that everything shows in the logits."""
    generator = torch.Generator().manual_seed(seed)
    width, inner, vocabulary = (
        config[size] for size in ("hidden_size", "intermediate_size", "vocab_size")
    )

    def matrix(rows: int, columns: int) -> Tensor:
        return torch.randn(rows, columns, generator=generator) * 1.5 * columns**-0.5

    def scale() -> Tensor:
        return 1 + 0.2 * torch.randn(width, generator=generator)

    weights = {
        "model.embed_tokens.weight": matrix(vocabulary, width),
        "model.norm.weight": scale(),
        # Rows of very different lengths.
        "lm_head.weight": matrix(vocabulary, width)
        * (2 * torch.rand(vocabulary, 1, generator=generator)),
    }
    for layer in range(config["num_hidden_layers"]):
        weights |= {
            f"model.layers.{layer}.{name}": weight
            for name, weight in {
                "self_attn.W_pack.weight": matrix(3 * width, width),
                "self_attn.o_proj.weight": matrix(width, width),
                "mlp.gate_proj.weight": matrix(inner, width),
                "mlp.up_proj.weight": matrix(inner, width),
                "mlp.down_proj.weight": matrix(width, inner),
                "input_layernorm.weight": scale(),
                "post_attention_layernorm.weight": scale(),
            }.items()
        }
    return weights


def write_weights(folder: Path, weights: Mapping[str, Tensor], layout: Layout) -> None:
    """In one file or three, and what belongs together not always in the same."""
    suffix = layout.split()[-1]
    stem = {"bin": "pytorch_model", "safetensors": "model"}[suffix]
    shards = [f"{stem}.{suffix}"]
    if layout.startswith("sharded"):
        shards = [f"{stem}-{i:05}-of-00003.{suffix}" for i in (1, 2, 3)]
        where = {name: shards[i % 3] for i, name in enumerate(weights)}
        index = {"metadata": {"total_size": 0}, "weight_map": where}
        (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps(index))
    for i, shard in enumerate(shards):
        part = {name: w for j, (name, w) in enumerate(weights.items()) if j % len(shards) == i}
        if suffix == "bin":
            torch.save(part, folder / shard)
        else:
            save_file(part, folder / shard, metadata={"format": "pt"})


def write_tokenizer(folder: Path, **settings: Any) -> str:
    """settings (Any): Entries of its settings, other than those of the released ones.
    RETURNS (str): The folder.
    """
    (folder / "tokenizer_config.json").write_text(json.dumps({**TOKENIZER_CONFIG, **settings}))
    (folder / "tokenizer.model").write_bytes(baichuan_model())
    return str(folder)


def write_folder(
    folder: Path,
    weights: Mapping[str, Tensor],
    *,
    layout: Layout = "bin",
    config: Mapping[str, Any] = CONFIG,
) -> str:
    """RETURNS (str): The folder."""
    write_weights(folder, weights, layout)
    (folder / "config.json").write_text(json.dumps(config))
    return write_tokenizer(folder)


def reference_logits(
    weights: Mapping[str, Tensor], ids: Sequence[int], *, norm_head: bool = True
) -> Tensor:
    """What Baichuan2-7B computes, written out for one sequence."""
    positions = torch.arange(len(ids))
    size = WIDTH // HEADS
    rates = 1.0 / 10000 ** (torch.arange(0, size, 2) / size)
    angles = torch.outer(positions, rates).repeat(1, 2)
    future = torch.ones(len(ids), len(ids), dtype=torch.bool).triu(1)

    def norm(x: Tensor, name: str) -> Tensor:
        return x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt() * weights[name]

    def rotate(x: Tensor) -> Tensor:
        first, second = x[..., : size // 2], x[..., size // 2 :]
        return x * angles.cos() + torch.cat((-second, first), -1) * angles.sin()

    def heads(x: Tensor) -> Tensor:
        return x.view(len(ids), HEADS, size).transpose(0, 1)

    x = weights["model.embed_tokens.weight"][torch.tensor(list(ids))]
    for layer in range(LAYERS):
        at = f"model.layers.{layer}."
        packed = linear(
            norm(x, at + "input_layernorm.weight"), weights[at + "self_attn.W_pack.weight"]
        )
        query, key, value = (heads(part) for part in packed.split(WIDTH, -1))
        scores = rotate(query) @ rotate(key).transpose(1, 2) / size**0.5
        attention = scores.masked_fill(future, float("-inf")).softmax(-1) @ value
        attention = attention.transpose(0, 1).reshape(len(ids), WIDTH)
        x = x + linear(attention, weights[at + "self_attn.o_proj.weight"])
        inner = norm(x, at + "post_attention_layernorm.weight")
        gate = silu(linear(inner, weights[at + "mlp.gate_proj.weight"]))
        up = linear(inner, weights[at + "mlp.up_proj.weight"])
        x = x + linear(gate * up, weights[at + "mlp.down_proj.weight"])
    head = weights["lm_head.weight"]
    return linear(norm(x, "model.norm.weight"), normalize(head) if norm_head else head)
