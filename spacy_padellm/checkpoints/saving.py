"""Save a checkpoint folder: a Hugging Face model and tokenizer with a `padellm.json`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from ..errors import Errors
from ..settings import Settings
from ..tree.causal_lm import CausalLM
from .adapters import has_adapter
from .files import SAVING_FOLDER, SETTINGS_FILE, list_saved, replace_saved, saving_alone


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
    aside = folder / SAVING_FOLDER
    with saving_alone(folder):
        replace_saved(folder)
        if aside.exists():
            shutil.rmtree(aside)
        # Elsewhere first: the model may be mapped from the files that are replaced, and an
        # interrupted save must leave them as they are.
        lm.model.save_pretrained(aside, safe_serialization=True)
        lm.tokenizer.save_pretrained(aside)
        save_settings(aside, settings)
        list_saved(folder)
        replace_saved(folder)


def save_settings(folder: Path, settings: Settings) -> None:
    """Write a `padellm.json`, and nothing else, to a folder, which is created if it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{SETTINGS_FILE}.part"
    part.write_text(settings.to_json(), encoding="utf8")
    os.replace(part, folder / SETTINGS_FILE)
