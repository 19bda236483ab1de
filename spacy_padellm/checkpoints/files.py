"""What a checkpoint's files hold: settings, and weights as they are stored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import torch
from safetensors import safe_open
from torch import Tensor
from transformers.utils import check_torch_load_is_safe

from ..errors import Errors
from .locations import WEIGHTS, cannot_load, find_file
from .options import LoadOptions


def read_json(name: str, file: str, options: LoadOptions) -> dict[str, Any]:
    """name (str): A folder or hub id.
    file (str): A JSON file in it.
    options (LoadOptions): Which revision of a hub id, and whether it may be fetched.
    RETURNS (Dict[str, Any]): The object in the file, empty without such a file.
    RAISES (ValueError): The file cannot be read.
    """
    path = find_file(name, file, options)
    if path is None:
        return {}
    try:
        content: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf8"))
        if not isinstance(content, dict):
            raise ValueError(f"{file} is not a JSON object")
    except (OSError, ValueError) as error:
        raise cannot_load(name, error) from error
    return content


def read_weights(name: str, options: LoadOptions) -> dict[str, Tensor]:
    """Read all weights of a checkpoint, whatever files they are in.

    name (str): A folder or hub id.
    options (LoadOptions): Which revision of a hub id, and whether it may be fetched.
    RETURNS (Dict[str, Tensor]): Name → weight. They are mapped from the files, so that they take
        no memory of their own (but for files that torch wrote before version 1.6).
    RAISES (ValueError): A file is missing or cannot be read.
    """
    weights: dict[str, Tensor] = {}
    for path in _weight_files(name, options):
        try:
            weights |= _read_safetensors(path) if path.endswith(".safetensors") else _read_bin(path)
        except Exception as error:  # safetensors, pickle and torch each have their own
            raise cannot_load(name, error) from error
    return weights


def _weight_files(name: str, options: LoadOptions) -> list[str]:
    for file in WEIGHTS:
        path = find_file(name, file, options)
        if path is None:
            continue
        if not file.endswith(".index.json"):
            return [path]
        shards = sorted(set(read_json(name, file, options).get("weight_map", {}).values()))
        paths = {shard: find_file(name, shard, options) for shard in shards}
        if missing := [shard for shard, found in paths.items() if found is None]:
            raise ValueError(Errors.P041.format(name=name, missing=missing[0]))
        return [found for found in paths.values() if found is not None]
    raise ValueError(Errors.P041.format(name=name, missing="weights (model.safetensors)"))


def _read_safetensors(path: str) -> dict[str, Tensor]:
    with safe_open(path, framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


def _read_bin(path: str) -> dict[str, Tensor]:
    check_torch_load_is_safe()
    weights: dict[str, Tensor] = torch.load(
        path, map_location="cpu", weights_only=True, mmap=is_zipfile(path)
    )
    return weights
