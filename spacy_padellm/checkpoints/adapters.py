"""Adapters of PEFT (LoRA and its like): what they belong to, and putting them into it."""

from __future__ import annotations

import json
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from transformers import PreTrainedModel

from ..errors import Errors
from ..optional import require
from .locations import ADAPTER_FILE, cannot_load, find_file, find_folder
from .options import LoadOptions
from .quantization import is_quantized


class Adapter(NamedTuple):
    """An adapter and the model it was trained for.

    name (str): Its folder or hub id.
    base (str): Folder or hub id of the model.
    base_options (LoadOptions): How that is to be loaded.
    """

    name: str
    base: str
    base_options: LoadOptions


def find_adapter(name: str, options: LoadOptions) -> Adapter | None:
    """name (str): A folder or hub id.
    options (LoadOptions): How it is to be loaded.
    RETURNS (Optional[Adapter]): What its `adapter_config.json` says, `None` without one.
    RAISES (ValueError): It can't be read, names no model, or is no adapter that can be merged.
    """
    path = find_file(name, ADAPTER_FILE, options)
    if path is None:
        return None
    try:
        config = json.loads(Path(path).read_text(encoding="utf8"))
        base, kind = config["base_model_name_or_path"], config["peft_type"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(Errors.P050.format(path=path, error=repr(error))) from error
    if not base:
        raise ValueError(Errors.P051.format(path=path))
    if "PROMPT" in kind or "PREFIX" in kind or "P_TUNING" in kind:
        # Their virtual tokens come before the text, and a token tree begins with it.
        raise ValueError(Errors.P052.format(name=name, kind=kind))
    try:
        base = find_folder(base)
    except ValueError as error:
        raise ValueError(Errors.P053.format(name=name, base=base, error=error)) from error
    return Adapter(name, base, replace(options, revision=config.get("revision")))


def apply_adapter(
    model: PreTrainedModel, adapter: Adapter, options: LoadOptions
) -> PreTrainedModel:
    """model (PreTrainedModel): The model that the adapter was trained for.
    adapter (Adapter): The adapter.
    options (LoadOptions): How it is to be loaded.
    RETURNS (PreTrainedModel): The model with the adapter merged into its weights; with the adapter
        beside them where they are quantized, as merging would round it away.
    RAISES (ImportError): PEFT isn't installed.
    RAISES (ValueError): The adapter doesn't fit the model, or isn't whole.
    """
    require("peft", "An adapter", extra="llm")
    from peft import PeftModel

    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            adapted = PeftModel.from_pretrained(model, adapter.name, **options.hub)
        for each in caught:
            if "missing adapter keys" in str(each.message):
                raise ValueError(str(each.message))
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
        if is_quantized(model):
            return cast(PreTrainedModel, adapted.get_base_model())
        untie_adapted(model)
        merged = cast(PreTrainedModel, adapted.merge_and_unload(safe_merge=True))
    except Exception as error:  # PEFT, safetensors and torch each have their own
        raise cannot_load(adapter.name, error) from error
    # PEFT has frozen them, and it is a model like any now.
    return cast(PreTrainedModel, merged.requires_grad_(True))


def has_adapter(model: torch.nn.Module) -> bool:
    """model (torch.nn.Module): A model.
    RETURNS (bool): Whether an adapter is beside its weights.
    """
    if "peft" not in sys.modules:
        return False
    from peft.tuners.tuners_utils import BaseTunerLayer

    return any(isinstance(module, BaseTunerLayer) for module in model.modules())


def untie_adapted(model: PreTrainedModel) -> None:
    """Give the head weights of its own where they are those of the embeddings and an adapter
    changes one of the two: merged, it would change both.

    model (PreTrainedModel): A model with an adapter in it.
    """
    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
    if head is None or not (has_adapter(embeddings) or has_adapter(head)):
        return
    inner, outer = (cast(Any, getattr(each, "base_layer", each)) for each in (embeddings, head))
    if outer.weight is inner.weight:
        outer.weight = torch.nn.Parameter(inner.weight.detach().clone())
        model.config.tie_word_embeddings = False
