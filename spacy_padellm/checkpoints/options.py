"""How a checkpoint is loaded: where to, in which precision, from which revision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch

from ..errors import Errors

# Of a model's linear layers; what they compute in stays `dtype`.
Quantization = Literal["4bit", "8bit"]

DeviceMap = str | Mapping[str, int | str]


# Where a model runs if nothing is said.
DEFAULT_DEVICE = "cpu"


@dataclass(frozen=True)
class LoadOptions:
    """How model and tokenizer are loaded.

    device (str): Where to run, e.g. `"cuda:0"`; `"auto"` for the first GPU, or the CPU without one.
    dtype (str): What weights are kept in, e.g. `"bfloat16"`; `"auto"` for what they are stored in.
    device_map (Optional[Union[str, Mapping[str, Union[int, str]]]]): Where each part of a model
        goes that is too large for one device, in the place of `device`: `"auto"`, or devices by
        the names of modules.
    attn_implementation (Optional[str]): `"sdpa"` or `"eager"`, by default what transformers choose.
    quantization (Optional[str]): `"4bit"` or `"8bit"`, by bitsandbytes.
    revision (Optional[str]): Branch, tag or commit of a hub id.
    local_files_only (bool): Whether a hub id is looked for on this machine only.
    trust_remote_code (bool): Whether code may be run that comes with a checkpoint.
    RAISES (ValueError): A value that is not possible.
    """

    device: str = DEFAULT_DEVICE
    dtype: str = "float32"
    device_map: DeviceMap | None = None
    attn_implementation: str | None = None
    quantization: Quantization | None = None
    revision: str | None = None
    local_files_only: bool = False
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        values = get_args(Quantization)
        if self.quantization not in (None, *values):
            raise ValueError(
                Errors.P031.format(name="quantization", value=self.quantization, values=values)
            )

        if self.device_map is not None and self.device != DEFAULT_DEVICE:
            raise ValueError(Errors.P068.format(device=self.device))

    @property
    def torch_dtype(self) -> torch.dtype | Literal["auto"]:
        """RETURNS (Union[torch.dtype, str]): What weights are kept in, as transformers take it.
        RAISES (ValueError): No floating point dtype of torch.
        """
        return "auto" if self.dtype == "auto" else get_dtype(self.dtype)

    @property
    def place(self) -> str:
        """RETURNS (str): The device, found out if it is `"auto"`."""
        return _choose_device() if self.device == "auto" else self.device

    @property
    def hub(self) -> dict[str, Any]:
        """RETURNS (Dict[str, Any]): What `from_pretrained` takes to find files."""
        return {"revision": self.revision, "local_files_only": self.local_files_only}

    def of_folder(self) -> LoadOptions:
        """RETURNS (LoadOptions): The options for a folder, which has no revision."""
        return replace(self, revision=None)


# Options are values, so one for all who state none.
DEFAULT_OPTIONS = LoadOptions()


def get_dtype(name: str) -> torch.dtype:
    """name (str): A torch dtype's name.
    RETURNS (torch.dtype): The dtype.
    RAISES (ValueError): No floating point dtype of torch.
    """
    dtype = getattr(torch, name, None)
    if not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise ValueError(Errors.P043.format(dtype=name))
    return dtype


def find_device(name: str) -> torch.device:
    """name (str): A torch device's name.
    RETURNS (torch.device): The device with its number, which `"cuda"` leaves out.
    RAISES (ValueError): There is no such device.
    """
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(Errors.P045.format(device=name, error=error)) from error


def choose_device(device: str, devices: Sequence[str] | None) -> str:
    """Choose the device to load a model to, and to train it on.

    Args:
        device: What is stated as the one device.
        devices: What is stated as several, of which it is the first.

    Raises:
        ValueError: Both are stated.
    """
    if not devices:
        return device
    if device != DEFAULT_DEVICE:
        raise ValueError(Errors.P065.format(device=device, devices=", ".join(devices)))
    return devices[0]


def _choose_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
