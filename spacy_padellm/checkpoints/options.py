"""Options for loading a checkpoint: device, precision, revision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from ..errors import Errors

if TYPE_CHECKING:  # torch takes seconds to import
    import torch

# Only for the weights of linear layers, which still compute in `dtype`.
Quantization = Literal["4bit", "8bit"]
DeviceMap = str | Mapping[str, int | str]

# The device if none is stated.
DEFAULT_DEVICE = "cpu"


@dataclass(frozen=True)
class LoadOptions:
    """Options for loading a model and its tokenizer.

    Args:
        device: The device to run on, such as `"cuda:0"`. `"auto"` means the first GPU, or the CPU
            if there is none.
        dtype: The dtype of the weights, such as `"bfloat16"`; `"stored"` for the stored one.
            `"auto"` means the stored one on a GPU. On a CPU it means `"float32"`, with linear
            layers that predict in bfloat16 if the processor can. If it can, weights that are stored
            as bfloat16 stay so. With a device map or quantization, `"auto"` is `"stored"`.
        device_map: Where to put the parts of a model that is too large for one device: `"auto"`, or
            module names → devices. It replaces `device`.
        attn_implementation: `"sdpa"` or `"eager"`, by default what transformers chooses.
        quantization: `"4bit"` or `"8bit"` (with bitsandbytes); `None` for none.
        revision: Branch, tag or commit of a hub id.
        local_files_only: Whether to look for a hub id on this machine only.
        trust_remote_code: Whether to run code that comes with a checkpoint.

    Raises:
        ValueError: `quantization` is unknown, or both `device` and `device_map` are stated.
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
        """The dtype of the weights, in the form that transformers takes.

        Raises:
            ValueError: torch has no floating point dtype of this name.
        """
        return "auto" if self.dtype in ("auto", "stored") else get_dtype(self.dtype)

    @property
    def place(self) -> str:
        """The device to run on. `"auto"` is resolved to the GPU or CPU that was found."""
        if self.device != "auto":
            return self.device
        import torch

        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"

    @property
    def hub(self) -> dict[str, Any]:
        """The keyword arguments of `from_pretrained` that say how to find files."""
        return {"revision": self.revision, "local_files_only": self.local_files_only}

    def of_folder(self) -> LoadOptions:
        """Return the same options for a folder, which has no revision."""
        return replace(self, revision=None)


# Options never change, so that all functions can share these defaults.
DEFAULT_OPTIONS = LoadOptions()


def get_dtype(name: str) -> torch.dtype:
    """Look up a floating point dtype of torch by its name.

    Raises:
        ValueError: There is no such dtype.
    """
    import torch

    dtype = getattr(torch, name, None)
    if not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise ValueError(Errors.P043.format(dtype=name))
    return dtype


def has_fast_bfloat16(device: str) -> bool:
    """Return whether a type of torch device, such as `"cuda"`, has bfloat16 without emulation."""
    import torch

    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    if device == "cpu":
        # Not every version of torch has these two.
        checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(getattr(torch.cpu, name, bool)() for name in checks)
    return False


def find_device(name: str) -> torch.device:
    """Look up a torch device by its name, and add the index that `"cuda"` leaves out.

    Raises:
        ValueError: There is no such device.
    """
    import torch

    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise ValueError(Errors.P045.format(device=name, error=error)) from error


def choose_device(
    device: str, devices: Sequence[str] | None, device_map: DeviceMap | None = None
) -> str:
    """Choose the device to load and train a model on.

    Args:
        device: The one device stated, or the default.
        devices: Several devices to decode on; empty or `None` if none are stated.
        device_map: The device map, if one is stated.

    Returns:
        The first of `devices`, or `device` if there are none.

    Raises:
        ValueError: `devices` is a single string, or is stated together with `device` or
            `device_map`.
    """
    if isinstance(devices, str):
        raise ValueError(Errors.P035.format(name="devices", value=devices))
    if not devices:
        return device
    if device_map is not None:
        raise ValueError(Errors.P068.format(device=", ".join(devices)))
    if device != DEFAULT_DEVICE:
        raise ValueError(Errors.P065.format(device=device, devices=", ".join(devices)))
    return devices[0]
