"""Writing a checkpoint folder: a Hugging Face model and tokenizer with a `padellm.json`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from ..causal_lm import CausalLM
from .locations import SETTINGS_FILE
from .settings import CheckpointSettings


def save_checkpoint(folder: Path, lm: CausalLM, settings: CheckpointSettings) -> None:
    """Write a folder that `load_causal_lm`, and transformers on its own, can load.

    folder (Path): Where to; made if missing.
    lm (CausalLM): Model and tokenizer.
    settings (CheckpointSettings): What goes into `padellm.json`.
    """
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
        for stale in folder.glob("model*.safetensors*"):
            stale.unlink()
        for path in aside.iterdir():
            if (folder / path.name).is_dir():
                shutil.rmtree(folder / path.name)
            os.replace(path, folder / path.name)
    save_settings(folder, settings)


def save_settings(folder: Path, settings: CheckpointSettings) -> None:
    """Write a `padellm.json`, and nothing else.

    folder (Path): Where to; made if missing.
    settings (CheckpointSettings): What goes into it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SETTINGS_FILE).write_text(settings.to_json(), encoding="utf8")
