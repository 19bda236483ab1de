"""How a checkpoint is loaded: where to, in which precision, from which revision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from ..errors import Errors

if TYPE_CHECKING:  # torch takes seconds to import
    import torch

# Of a model's linear layers; what they compute in stays `dtype`.
Quantization = Literal["4bit", "8bit"]
DeviceMap = str | Mapping[str, int | str]

# Where a model runs if nothing is said.
DEFAULT_DEVICE = "cpu"


@dataclass(frozen=True)
class LoadOptions:
    """How model and tokenizer are loaded.

    Args:
        device: Where to run, e.g. `"cuda:0"`; `"auto"` for the first GPU, or the CPU without one.
        dtype: What weights are kept in, e.g. `"bfloat16"`; `"auto"` for what they are stored in.
        device_map: Where each part of a model goes that is too large for one device, in the place
            of `device`: `"auto"`, or devices by the names of modules.
        attn_implementation: `"sdpa"` or `"eager"`, by default what transformers choose.
        quantization: `"4bit"` or `"8bit"`, by bitsandbytes.
        revision: Branch, tag or commit of a hub id.
        local_files_only: Whether a hub id is looked for on this machine only.
        trust_remote_code: Whether code may be run that comes with a checkpoint.

    Raises:
        ValueError: A value is not possible.
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
        """What weights are kept in, as transformers take it.

        Raises:
            ValueError: It is no floating point dtype of torch.
        """
        return "auto" if self.dtype == "auto" else get_dtype(self.dtype)

    @property
    def place(self) -> str:
        """The device, found out if it is `"auto"`."""
        if self.device != "auto":
            return self.device
        import torch

        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"

    @property
    def hub(self) -> dict[str, Any]:
        """What `from_pretrained` takes to find files."""
        return {"revision": self.revision, "local_files_only": self.local_files_only}

    def of_folder(self) -> LoadOptions:
        """Return the options for a folder, which has no revision."""
        return replace(self, revision=None)


# Options are values, so one for all who state none.
DEFAULT_OPTIONS = LoadOptions()


def get_dtype(name: str) -> torch.dtype:
    """Look up a dtype of torch by its name.

    Raises:
        ValueError: There is no floating point dtype of this name.
    """
    import torch

    dtype = getattr(torch, name, None)
    if not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise ValueError(Errors.P043.format(dtype=name))
    return dtype


def find_device(name: str) -> torch.device:
    """Look up a device of torch, with the number that `"cuda"` leaves out.

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
    """Choose where to load a model to, and train it, of one device and several that are stated.

    Raises:
        ValueError: Both are stated, or several and a device map, or a single string as several.
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
