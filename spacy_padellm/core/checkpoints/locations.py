"""Where a checkpoint is: a folder, one that comes with the package, or a hub id."""

from __future__ import annotations

import os
from pathlib import Path

from transformers.utils import cached_file

from ...errors import Errors
from .bundled import find_bundled

SETTINGS_FILE = "padellm.json"


def find_checkpoint(name: str) -> str:
    """name (str): A checkpoint folder, a hub id, or the folder of a trained pipeline.
    RETURNS (str): The checkpoint folder in the pipeline, or the name as it is.
    """
    inner = next(Path(name).expanduser().glob(f"*/model/{SETTINGS_FILE}"), None)
    return name if inner is None else str(inner.parent)


def is_checkpoint(name: str) -> bool:
    """name (str): Anything.
    RETURNS (bool): Whether it is a folder with a `padellm.json`, or a bundled checkpoint.
    """
    return (Path(find_bundled(os.path.expanduser(name))) / SETTINGS_FILE).is_file()


def find_folder(name: str) -> str:
    """RETURNS (str): The name, with the user's home directory in the place of `~`; the folder of a
    bundled checkpoint.
    """
    name = find_bundled(os.path.expanduser(name))
    path = Path(name)
    if not path.exists():
        # What reads like a path and is not there is no hub id, either.
        if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
            raise ValueError(Errors.P041.format(name=name, missing="the folder itself"))
        return name
    if (inner := find_checkpoint(name)) != name:
        raise ValueError(Errors.P047.format(name=name, inner=inner))
    if not (path / "config.json").is_file():
        raise ValueError(Errors.P041.format(name=name, missing="config.json"))
    weights = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
    if not any((path / w).is_file() for w in (*weights, "pytorch_model.bin.index.json")):
        raise ValueError(Errors.P041.format(name=name, missing="weights (model.safetensors)"))
    # What a tokenizer without a tokenizer.json is kept in has many names.
    tokenizers = ("tokenizer.json", "*.model", "*vocab*", "*.tiktoken")
    if not any(file for pattern in tokenizers for file in path.glob(pattern)):
        raise ValueError(Errors.P041.format(name=name, missing="a tokenizer (tokenizer.json)"))
    return name


def find_file(name: str, file: str) -> str | None:
    if Path(name).is_dir():
        path = Path(name) / file
        return str(path) if path.is_file() else None
    try:
        # A hub id that cannot be reached is not one without this file.
        cached_file(name, "config.json")
        found: str | None = cached_file(
            name,
            file,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
    except OSError as error:
        raise cannot_load(name, error) from error
    return found


def cannot_load(name: str, error: Exception) -> ValueError:
    """name (str): A folder or hub id.
    error (Exception): Why it cannot be loaded.
    RETURNS (ValueError): The error to raise.
    """
    tried = "" if Path(name).exists() else "no folder of this name is here, and as a hub id: "
    return ValueError(Errors.P042.format(name=name, error=f"{tried}{error}"))
