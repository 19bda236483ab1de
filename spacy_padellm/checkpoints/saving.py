"""Writing a checkpoint folder: a Hugging Face model and tokenizer with a `padellm.json`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor

from ..errors import Errors
from ..tree.causal_lm import CausalLM
from .adapters import has_adapter
from .files import ADAPTER_FILE, SETTINGS_FILE
from .loading import load_checkpoint
from .options import LoadOptions
from .settings import CheckpointSettings


def save_checkpoint(folder: Path, lm: CausalLM, settings: CheckpointSettings) -> None:
    """Write a folder that `load_causal_lm`, and transformers on its own, can load.

    Args:
        folder: Where to; made if missing.
        lm: Model and tokenizer.
        settings: What goes into `padellm.json`.

    Raises:
        ValueError: The model has an adapter beside quantized weights.
    """
    if has_adapter(lm.model):
        raise ValueError(Errors.P054)
    folder.mkdir(parents=True, exist_ok=True)
    for left_over in folder.glob(".saving-*"):
        shutil.rmtree(left_over)
    # Aside first: the model may be mapped from the very files that are replaced.
    with TemporaryDirectory(dir=folder, prefix=".saving-") as name:
        aside = Path(name)
        lm.model.save_pretrained(aside, safe_serialization=True)
        lm.tokenizer.save_pretrained(aside)
        # Empty until the end, so that nobody takes half a folder for a whole one.
        (folder / SETTINGS_FILE).write_text("")
        remove_weights(folder)
        for path in aside.iterdir():
            if (folder / path.name).is_dir():
                shutil.rmtree(folder / path.name)
            os.replace(path, folder / path.name)
    save_settings(folder, settings)


def remove_weights(folder: Path) -> None:
    """Remove a folder's weights of an earlier model or adapter, which would be loaded with, or in
    the place of, what is saved next.
    """
    for pattern in ("model*.safetensors*", ADAPTER_FILE, "adapter_model.*"):
        for path in folder.glob(pattern):
            path.unlink()


def save_settings(folder: Path, settings: CheckpointSettings) -> None:
    """Write a `padellm.json`, and nothing else, into a folder that is made if missing."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SETTINGS_FILE).write_text(settings.to_json(), encoding="utf8")


def load_average(
    names: Sequence[str], *, dtype: str = "auto"
) -> tuple[CausalLM, CheckpointSettings]:
    """Load checkpoints that were trained from the same weights, and average those they have come
    to: often a better model than any of them, of the same size (Wortsman et al., 2022, "Model
    soups").

    Args:
        names: Checkpoints, one or more.
        dtype: What weights are kept in; `"auto"` for what the first one's are stored in.

    Returns:
        The model, and the settings all of them have.

    Raises:
        ValueError: A checkpoint is not complete, or they differ in more than their weights.
    """
    first, *others = names
    lm, settings = load_checkpoint(first, options=LoadOptions(dtype=dtype))
    weights = lm.model.state_dict()
    # In double precision, so that the order does not matter.
    sums = {key: weight.double() for key, weight in weights.items()}
    for name in others:
        other, other_settings = load_checkpoint(name)
        added = other.model.state_dict()
        if (
            other_settings != settings
            or other.tokenizer.get_vocab() != lm.tokenizer.get_vocab()
            or _shapes(added) != _shapes(weights)
        ):
            raise ValueError(Errors.P049.format(first=first, name=name))
        for key, weight in added.items():
            sums[key] += weight.double()
    with torch.no_grad():
        for key, weight in weights.items():
            weight.copy_(sums[key] / len(names))
    return lm, settings


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {key: weight.shape for key, weight in weights.items()}
