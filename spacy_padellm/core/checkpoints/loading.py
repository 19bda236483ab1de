"""Loading a checkpoint: model and tokenizer, from a folder or hub id."""

from __future__ import annotations

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from ...errors import Errors
from ..causal_lm import CausalLM, PrefixAttention
from .locations import SETTINGS_FILE, cannot_load, find_folder
from .settings import CheckpointSettings, load_settings


def load_causal_lm(
    name: str,
    *,
    prefix_attention: PrefixAttention = "causal",
    device: str = "cpu",
    dtype: str = "float32",
) -> CausalLM:
    """Load model and tokenizer, and find out how the model runs trees.

    name (str): A folder or hub id.
    prefix_attention (PrefixAttention): Whether the text attends in both directions.
    device (str): Where to run, e.g. `"cuda:0"`.
    dtype (str): What weights are kept in, e.g. `"bfloat16"`; `"auto"` for what they are stored in.
    RETURNS (CausalLM): The model, in evaluation mode.
    RAISES (ValueError): The folder is missing or not complete.
    """
    name = find_folder(name)
    torch_dtype = dtype if dtype == "auto" else get_dtype(dtype)
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
        model, report = AutoModelForCausalLM.from_pretrained(
            name, torch_dtype=torch_dtype, output_loading_info=True
        )
    except Exception as error:  # transformers, safetensors and tokenizers each have their own
        raise cannot_load(name, error) from error
    if missing := sorted(report["missing_keys"]):
        raise ValueError(Errors.P044.format(name=name, count=len(missing), first=missing[0]))
    return CausalLM(model.eval(), tokenizer, prefix_attention=prefix_attention).to(device)


def load_checkpoint(
    name: str,
    *,
    device: str = "cpu",
    dtype: str = "float32",
    max_mentions: int | None = None,
    max_mention_tokens: int | None = None,
) -> tuple[CausalLM, CheckpointSettings]:
    """Load a checkpoint with all it was trained with.

    name (str): A folder, bundled checkpoint or hub id with a `padellm.json`.
    device (str): Where to run.
    dtype (str): What weights are kept in.
    max_mentions (Optional[int]): Overrides the checkpoint's most mentions of a label.
    max_mention_tokens (Optional[int]): Overrides the checkpoint's longest mention.
    RETURNS (Tuple[CausalLM, CheckpointSettings]): The model and its settings.
    RAISES (ValueError): The folder is missing or not complete, or a limit is below 1.
    """
    settings = load_settings(name)
    if settings is None:
        raise ValueError(Errors.P041.format(name=name, missing=SETTINGS_FILE))
    settings = settings.override_limits(max_mentions, max_mention_tokens)
    lm = load_causal_lm(
        name, prefix_attention=settings.prefix_attention, device=device, dtype=dtype
    )
    return lm, settings


def get_dtype(name: str) -> torch.dtype:
    """name (str): A torch dtype's name.
    RETURNS (torch.dtype): The dtype.
    RAISES (ValueError): No floating point dtype of torch.
    """
    dtype = getattr(torch, name, None)
    if not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise ValueError(Errors.P043.format(dtype=name))
    return dtype
