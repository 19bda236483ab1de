"""Quantized weights, by bitsandbytes."""

from __future__ import annotations

from typing import Any

from transformers import BitsAndBytesConfig, PreTrainedModel

from ..optional import require
from .files import read_json
from .options import LoadOptions


def is_quantized(model: PreTrainedModel) -> bool:
    """model (PreTrainedModel): A model.
    RETURNS (bool): Whether its weights are quantized, by an option or as they were saved.
    """
    return getattr(model, "is_quantized", False)


def is_stored_quantized(name: str, options: LoadOptions) -> bool:
    """name (str): A folder or hub id.
    options (LoadOptions): How it is loaded.
    RETURNS (bool): Whether its weights were saved quantized.
    """
    return bool(read_json(name, "config.json", options).get("quantization_config"))


def quantization_config(name: str, options: LoadOptions) -> Any:
    """name (str): A folder or hub id.
    options (LoadOptions): Which quantization, and what its layers compute in.
    RETURNS (Optional[BitsAndBytesConfig]): What `from_pretrained` takes; `None` where weights were
        saved quantized, as they then stay what they are.
    RAISES (ImportError): bitsandbytes isn't installed.
    RAISES (ValueError): No floating point dtype of torch.
    """
    for package in ("bitsandbytes", "accelerate"):
        require(package, f"Loading {name} with quantization", extra="quantization")
    if is_stored_quantized(name, options):
        return None
    if options.quantization == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    dtype = None if options.torch_dtype == "auto" else options.torch_dtype
    # As QLoRA has it (Dettmers et al., 2023).
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
