"""Writing a checkpoint folder: a Hugging Face model and tokenizer with a `padellm.json`."""

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


def save_settings(folder: Path, settings: Settings) -> None:
    """Write a `padellm.json`, and nothing else, into a folder that is made if missing."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SETTINGS_FILE).write_text(settings.to_json(), encoding="utf8")
