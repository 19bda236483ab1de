"""Save a checkpoint folder: a Hugging Face model and tokenizer with a `padellm.json`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from ..errors import Errors
from ..settings import Settings
from ..tree.causal_lm import CausalLM
from .adapters import has_adapter
from .files import ADAPTER_FILE, SETTINGS_FILE


def save_checkpoint(folder: Path, lm: CausalLM, settings: Settings) -> None:
    """Save a checkpoint folder that both `load_causal_lm` and transformers alone can load.

    Args:
        folder: The folder. It is created if it is missing.
        lm: Model and tokenizer.
        settings: The settings to write to `padellm.json`.

    Raises:
        ValueError: The model has an adapter that is not merged, as beside quantized weights.
    """
    if has_adapter(lm.model):
        raise ValueError(Errors.P054)
    folder.mkdir(parents=True, exist_ok=True)
    for left_over in folder.glob(".saving-*"):
        shutil.rmtree(left_over)
    # Save elsewhere first, as the model may be mapped from the files that are replaced.
    with TemporaryDirectory(dir=folder, prefix=".saving-") as name:
        aside = Path(name)
        lm.model.save_pretrained(aside, safe_serialization=True)
        lm.tokenizer.save_pretrained(aside)
        # The settings stay empty to the end, so that an interrupted save can be noticed.
        (folder / SETTINGS_FILE).write_text("")
        remove_weights(folder)
        for path in aside.iterdir():
            if (folder / path.name).is_dir():
                shutil.rmtree(folder / path.name)
            os.replace(path, folder / path.name)
    save_settings(folder, settings)


def remove_weights(folder: Path) -> None:
    """Remove the weights of an earlier model or adapter from a folder.

    Otherwise they would be loaded together with the weights that are saved next, or instead of
    them.
    """
    for pattern in ("model*.safetensors*", ADAPTER_FILE, "adapter_model.*"):
        for path in folder.glob(pattern):
            path.unlink()


def save_settings(folder: Path, settings: Settings) -> None:
    """Write a `padellm.json`, and nothing else, to a folder, which is created if it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SETTINGS_FILE).write_text(settings.to_json(), encoding="utf8")
