"""Save a checkpoint folder: a Hugging Face model and tokenizer with a `padellm.json`."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from ..errors import Errors
from ..settings import Settings
from ..tree.causal_lm import CausalLM
from .adapters import has_adapter
from .files import SETTINGS_FILE
from .whole import SAVING_FOLDER, list_saved, replace_saved, saving_alone

# How many tokens are kept to know a tokenizer by.
_SAMPLED = 16


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
        save_settings(aside, settings, lm.tokenizer)
        list_saved(folder)
        replace_saved(folder)


def save_settings(
    folder: Path, settings: Settings, tokenizer: PreTrainedTokenizerBase | None = None
) -> None:
    """Write a `padellm.json`, and nothing else, to a folder, which is created if it is missing.

    Args:
        folder: The folder.
        settings: The settings.
        tokenizer: The tokenizer that is saved with them; `None` if it stays as it was.
    """
    if tokenizer is not None:
        settings = replace(settings, tokenizer=sample_tokens(tokenizer))
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{SETTINGS_FILE}.part"
    part.write_text(settings.to_json(), encoding="utf8")
    os.replace(part, folder / SETTINGS_FILE)


def sample_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[str, str]:
    """List some ids of a tokenizer with their tokens, all over its vocabulary, to know it by."""
    ids = range(0, len(tokenizer), max(1, len(tokenizer) // _SAMPLED))
    tokens = ((str(each), tokenizer.convert_ids_to_tokens(each)) for each in ids)
    return {token_id: token for token_id, token in tokens if token is not None}
