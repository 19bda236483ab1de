"""PEFT adapters, such as LoRA: find the model that one belongs to, and apply it."""

from __future__ import annotations

import json
import sys
import warnings
from dataclasses import replace
from typing import Any, cast

import torch
from transformers import PreTrainedModel

from ..errors import Errors, require
from .files import CheckpointFiles, find_folder, loading_errors
from .whole import ADAPTER_FILE


def find_adapted(files: CheckpointFiles) -> CheckpointFiles | None:
    """Find the model that an adapter was trained for.

    Args:
        files: The files of an adapter, or of any other checkpoint.

    Returns:
        The files of the model that `adapter_config.json` names; `None` if there is no such file.

    Raises:
        ValueError: The file can't be read or names no model, the model can't be found, or the
            adapter is of a type that can't be merged.
    """
    path = files.find(ADAPTER_FILE)
    if path is None:
        return None
    try:
        config = json.loads(path.read_text(encoding="utf8"))
        base, kind = config["base_model_name_or_path"], config["peft_type"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(Errors.P050.format(path=path, error=repr(error))) from error
    if not base:
        raise ValueError(Errors.P051.format(path=path))
    if "PROMPT" in kind or "PREFIX" in kind or "P_TUNING" in kind:
        # These put virtual tokens before the text, but a token tree begins with the text.
        raise ValueError(Errors.P052.format(name=files.name, kind=kind))
    try:
        base = find_folder(base)
    except ValueError as error:
        raise ValueError(Errors.P053.format(name=files.name, base=base, error=error)) from error
    return CheckpointFiles(base, replace(files.options, revision=config.get("revision")))


def apply_adapter(model: PreTrainedModel, files: CheckpointFiles, *, merge: bool) -> Any:
    """Apply an adapter to the model that it was trained for.

    Args:
        model: The model.
        files: The files of the adapter.
        merge: Whether to merge the adapter into the weights, or to keep it beside them.

    Returns:
        The model with the adapter.

    Raises:
        ImportError: PEFT isn't installed.
        ValueError: The adapter doesn't fit the model, or lacks weights.
    """
    require("peft", "An adapter", extra="llm")
    from peft import PeftModel

    with loading_errors(files.name):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            adapted = PeftModel.from_pretrained(model, files.name, **files.options.hub)
        for each in caught:
            if "missing adapter keys" in str(each.message):
                raise ValueError(str(each.message))
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
        if not merge:
            return adapted.get_base_model()
        untie_adapted(model)
        # PEFT has frozen the weights, but a merged model can be trained like any other.
        return adapted.merge_and_unload(safe_merge=True).requires_grad_(True)


def has_adapter(model: torch.nn.Module) -> bool:
    """Tell whether a model has an adapter beside its weights."""
    if "peft" not in sys.modules:
        return False
    from peft.tuners.tuners_utils import BaseTunerLayer

    return any(isinstance(module, BaseTunerLayer) for module in model.modules())


def untie_adapted(model: PreTrainedModel) -> None:
    """Untie the output head from the embeddings if an adapter changes either.

    Otherwise merging the adapter would change both.
    """
    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
    if head is None or not (has_adapter(embeddings) or has_adapter(head)):
        return
    inner, outer = (cast(Any, getattr(each, "base_layer", each)) for each in (embeddings, head))
    if outer.weight is inner.weight:
        outer.weight = torch.nn.Parameter(inner.weight.detach().clone())
        model.config.tie_word_embeddings = False
