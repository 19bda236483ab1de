"""Where a checkpoint is (in the package, in a folder or on the hub), and the files in it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import is_zipfile

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor
from transformers.utils import cached_file, check_torch_load_is_safe

from ..errors import Errors
from .options import DEFAULT_OPTIONS, LoadOptions
from .whole import ADAPTER_FILE, finish_saving

# The folder of the checkpoints that come with the package.
BUNDLED_FOLDER = Path(__file__).parents[1] / "models"

CONFIG_FILE = "config.json"
SETTINGS_FILE = "padellm.json"
TOKENIZER_FILE = "tokenizer_config.json"

GGUF_SUFFIX = ".gguf"

# The first bytes of a GGUF file, and the end of the name of a part of one.
_GGUF_MAGIC = b"GGUF"
_GGUF_PART = re.compile(r"-\d{5}-of-\d{5}\.gguf$", re.IGNORECASE)

_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
_ADAPTER_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
# Parts of a complete folder, as errors name them → the files that may hold them.
_NEEDED: Mapping[str, Sequence[str]] = {
    CONFIG_FILE: (CONFIG_FILE,),
    "weights (model.safetensors)": _WEIGHTS,
    # Without a tokenizer.json, a tokenizer can be in files with many names.
    "a tokenizer (tokenizer.json)": ("tokenizer.json", "*.model", "*vocab*", "*.tiktoken"),
}
# The rest of what an adapter needs is in the folder of its model.
_NEEDED_OF_ADAPTER = {"weights (adapter_model.safetensors)": _ADAPTER_WEIGHTS}


def find_bundled(name: str) -> str:
    """Find the folder of a bundled checkpoint; return any other name unchanged.

    To use another folder of the same name, give a path such as `./padellm_en_small`.
    """
    folder = BUNDLED_FOLDER / name
    # Only a plain name: a path must not lead out of the bundled folder, or deeper into it.
    is_name = name.isidentifier() and (folder / CONFIG_FILE).is_file()
    return str(folder) if is_name else name


def find_checkpoint(name: str) -> str:
    """Find the checkpoint folder in a trained pipeline; return any other name unchanged."""
    inner = next(Path(name).expanduser().glob(f"*/model/{SETTINGS_FILE}"), None)
    return name if inner is None else str(inner.parent)


def is_checkpoint(name: str) -> bool:
    """Tell whether a name is a folder with a `padellm.json`, or a bundled checkpoint."""
    folder = Path(find_bundled(os.path.expanduser(name)))
    finish_saving(folder)
    return (folder / SETTINGS_FILE).is_file()


def has_weights(folder: Path) -> bool:
    """Tell whether a folder has weights of a model or an adapter."""
    return any((folder / name).is_file() for name in (*_WEIGHTS, *_ADAPTER_WEIGHTS))


def find_folder(name: str, *, with_weights: bool = True) -> str:
    """Find the folder of a model or an adapter, or a GGUF file, and check that it is complete.

    Args:
        name: A folder, a bundled checkpoint's name, a hub id or a `.gguf` file.
        with_weights: Whether a folder needs weights to be complete.

    Returns:
        The folder or file, with `~` replaced by the user's home directory, or the hub id.

    Raises:
        ValueError: The folder or file is missing or not complete, or is that of a pipeline.
    """
    name = find_bundled(os.path.expanduser(name))
    path = Path(name)
    if path.suffix.lower() == GGUF_SUFFIX:
        _check_gguf(path)
        return name
    if not path.exists():
        # A path that does not exist must not be taken for a hub id.
        if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
            raise ValueError(Errors.P041.format(name=name, missing="the folder itself"))
        return name
    finish_saving(path)
    if (inner := find_checkpoint(name)) != name:
        raise ValueError(Errors.P047.format(name=name, inner=inner))
    needed = _NEEDED_OF_ADAPTER if (path / ADAPTER_FILE).is_file() else _NEEDED
    for missing, patterns in needed.items():
        if missing.startswith("weights") and not with_weights:
            continue
        if not any(file for pattern in patterns for file in path.glob(pattern)):
            raise ValueError(Errors.P041.format(name=name, missing=missing))
    return name


def _check_gguf(path: Path) -> None:
    """Check that a GGUF file exists and begins as one, and is not one part of several.

    Raises:
        ValueError: It is not such a file.
    """
    reason = None
    if not path.is_file():
        reason = "there is no such file"
    elif _GGUF_PART.search(path.name):
        reason = "it is one part of several"
    else:
        with path.open("rb") as file:
            begin = file.read(len(_GGUF_MAGIC))
        if begin != _GGUF_MAGIC:
            reason = f"it begins with {begin!r}, not with {_GGUF_MAGIC!r}"
    if reason is not None:
        raise ValueError(Errors.P055.format(path=path, reason=reason))


@contextmanager
def loading_errors(name: str) -> Iterator[None]:
    """Turn any error in loading a checkpoint into one that names the checkpoint.

    Raises:
        ValueError: The checkpoint cannot be loaded.
    """
    try:
        yield
    # transformers, tokenizers, safetensors, PEFT, pickle and torch each raise their own errors.
    except Exception as error:
        tried = "" if Path(name).exists() else "there is no such folder, and as a hub id: "
        cause = _find_damaged(Path(name)) or f"{tried}{error}"
        raise ValueError(Errors.P042.format(name=name, error=cause)) from error


def _find_damaged(folder: Path) -> str | None:
    """Find the first file of a folder that can't be read, and say why; `None` if all can be."""
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    # Pickles are read only if there is nothing better.
    has_tensors = any(path.suffix == ".safetensors" for path in paths)
    for path in paths:
        try:
            if path.suffix == ".json":
                json.loads(path.read_text(encoding="utf8"))
            elif path.suffix == ".safetensors":
                with safe_open(path, framework="pt"):
                    pass
            elif path.suffix == ".bin" and "_model" in path.name and not has_tensors:
                _read_bin(path)
        except UnpicklingError:
            # Not torch's own words, which say how to run the code in it.
            return f"{path.name} holds more than weights, and reading it could run code"
        except Exception as error:
            return f"{path.name} can't be read: {error}"
    return None


def check_complete(name: str, missing: Collection[str]) -> None:
    """Check that a checkpoint had weights for all parameters of its model.

    Args:
        name: The checkpoint.
        missing: The parameters that it had no weights for.

    Raises:
        ValueError: There are such parameters. transformers would fill them at random.
    """
    if missing:
        raise ValueError(Errors.P044.format(name=name, count=len(missing), first=min(missing)))


@dataclass(frozen=True)
class CheckpointFiles:
    """The files of a checkpoint, in a folder or on the hub.

    Args:
        name: A folder, hub id or `.gguf` file, as `find_folder` returns it. A `.gguf` file is all
            there is: it has no files beside it.
        options: The revision of a hub id, and whether its files may be downloaded.
    """

    name: str
    options: LoadOptions = DEFAULT_OPTIONS

    @cached_property
    def config(self) -> dict[str, Any]:
        """The model's configuration; empty if there is none."""
        return self.read_json(CONFIG_FILE)

    @property
    def is_gguf(self) -> bool:
        """Whether the checkpoint is a GGUF file."""
        return Path(self.name).suffix.lower() == GGUF_SUFFIX

    @property
    def is_quantized(self) -> bool:
        """Whether the weights were saved quantized, and stay so. Those of a GGUF file do not."""
        return bool(self.config.get("quantization_config"))

    def find(self, file: str) -> Path | None:
        """Find a file on this machine, and download it if necessary.

        Returns:
            The file's path; `None` if there is no such file.

        Raises:
            ValueError: The hub id cannot be reached.
        """
        if self.is_gguf:
            return None
        if Path(self.name).is_dir():
            path = Path(self.name) / file
            return path if path.is_file() else None
        with loading_errors(self.name):
            found = cached_file(
                self.name,
                file,
                _raise_exceptions_for_missing_entries=False,
                _raise_exceptions_for_connection_errors=False,
                **self._hub,
            )
        return None if found is None else Path(found)

    def read_json(self, file: str) -> dict[str, Any]:
        """Read a file with a JSON object; the object is empty if there is no such file.

        Raises:
            ValueError: The file cannot be read, or is not a JSON object.
        """
        path = self.find(file)
        if path is None:
            return {}
        with loading_errors(self.name):
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf8"))
            if not isinstance(content, dict):
                raise ValueError(f"{file} is not a JSON object")
        return content

    def read_weights(self) -> dict[str, Tensor]:
        """Read all weights by name, from one file or several.

        They are mapped from the files and take no memory of their own, except from files that torch
        before version 1.6 wrote.

        Raises:
            ValueError: A file is missing or cannot be read.
        """
        weights: dict[str, Tensor] = {}
        for path in self._find_weights():
            with loading_errors(self.name):
                weights |= load_file(path) if path.suffix == ".safetensors" else _read_bin(path)
        return weights

    def require(self, file: str, missing: str) -> Path:
        """Find a file that a complete checkpoint needs.

        Args:
            file: The file's name.
            missing: How the error names what is missing.

        Raises:
            ValueError: There is no such file.
        """
        path = self.find(file)
        if path is None:
            raise ValueError(Errors.P041.format(name=self.name, missing=missing))
        return path

    def _find_weights(self) -> list[Path]:
        for file in _WEIGHTS:
            path = self.find(file)
            if path is not None and file.endswith(".index.json"):
                shards = set(self.read_json(file).get("weight_map", {}).values())
                return [self.require(shard, shard) for shard in sorted(shards)]
            if path is not None:
                return [path]
        raise ValueError(Errors.P041.format(name=self.name, missing="weights (model.safetensors)"))

    @cached_property
    def _hub(self) -> dict[str, Any]:
        # Check once that the hub id can be reached: `find` would only take its files for missing.
        try:
            cached_file(self.name, CONFIG_FILE, **self.options.hub)
        except OSError as error:
            try:
                cached_file(self.name, ADAPTER_FILE, **self.options.hub)
            except OSError:
                raise error from None
        return self.options.hub


def _read_bin(path: Path) -> dict[str, Tensor]:
    check_torch_load_is_safe()
    weights: dict[str, Tensor] = torch.load(
        path, map_location="cpu", weights_only=True, mmap=is_zipfile(path)
    )
    return weights
