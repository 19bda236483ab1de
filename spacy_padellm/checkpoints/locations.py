"""Where a checkpoint is: a folder, one that comes with the package, or a hub id."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from transformers.utils import cached_file

from ..errors import Errors
from .bundled import find_bundled
from .options import LoadOptions

SETTINGS_FILE = "padellm.json"
ADAPTER_FILE = "adapter_config.json"
TOKENIZER_FILE = "tokenizer_config.json"

WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
# What a folder is not complete without, and the files it may be in.
_NEEDED: Mapping[str, Sequence[str]] = {
    "config.json": ("config.json",),
    "weights (model.safetensors)": WEIGHTS,
    # What a tokenizer without a tokenizer.json is kept in has many names.
    "a tokenizer (tokenizer.json)": ("tokenizer.json", "*.model", "*vocab*", "*.tiktoken"),
}
# An adapter has the rest in the folder of its model.
_NEEDED_OF_ADAPTER = {"weights (adapter_model.safetensors)": _ADAPTER_WEIGHTS}


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


def has_weights(folder: Path) -> bool:
    """folder (Path): A folder.
    RETURNS (bool): Whether it has weights, of a model or of an adapter, not just settings.
    """
    return any((folder / name).is_file() for name in (*WEIGHTS, *_ADAPTER_WEIGHTS))


def find_folder(name: str) -> str:
    """name (str): A folder or hub id, of a model or of an adapter.
    RETURNS (str): The name, with the user's home directory in the place of `~`; the folder of a
        bundled checkpoint.
    RAISES (ValueError): A folder that is not there or not complete, or that of a pipeline.
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
    needed = _NEEDED_OF_ADAPTER if (path / ADAPTER_FILE).is_file() else _NEEDED
    for missing, patterns in needed.items():
        if not any(file for pattern in patterns for file in path.glob(pattern)):
            raise ValueError(Errors.P041.format(name=name, missing=missing))
    return name


def find_file(name: str, file: str, options: LoadOptions) -> str | None:
    """name (str): A folder or hub id.
    file (str): A file in it.
    options (LoadOptions): Which revision of a hub id, and whether it may be fetched.
    RETURNS (Optional[str]): The file's path on this machine, `None` if there is no such file.
    RAISES (ValueError): A hub id that cannot be reached.
    """
    if Path(name).is_dir():
        path = Path(name) / file
        return str(path) if path.is_file() else None
    try:
        _check_reachable(name, options)
        found: str | None = cached_file(
            name,
            file,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
            **options.hub,
        )
    except OSError as error:
        raise cannot_load(name, error) from error
    return found


def _check_reachable(name: str, options: LoadOptions) -> None:
    """A hub id that cannot be reached is not one without a file."""
    try:
        cached_file(name, "config.json", **options.hub)
    except OSError as error:
        try:
            cached_file(name, ADAPTER_FILE, **options.hub)
        except OSError:
            raise error from None


def cannot_load(name: str, error: Exception) -> ValueError:
    """name (str): A folder or hub id.
    error (Exception): Why it cannot be loaded.
    RETURNS (ValueError): The error to raise.
    """
    tried = "" if Path(name).exists() else "no folder of this name is here, and as a hub id: "
    return ValueError(Errors.P042.format(name=name, error=f"{tried}{error}"))
