"""What a benchmark was run on: without it, its times say nothing."""

from __future__ import annotations

import platform
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .. import __version__

_CPUINFO = Path("/proc/cpuinfo")


def describe_environment(device: str, dtype: str, **extra: Any) -> dict[str, Any]:
    """device (str): Where the model runs, e.g. `"cuda:0"`.
    dtype (str): What its weights are kept in.
    **extra (Any): What else is to be noted down, e.g. the checkpoint or `replay=True`.
    RETURNS (Dict[str, Any]): Date, versions, machine, device and the extras.
    """
    import torch

    cpu = _cpu_name(_CPUINFO)
    is_cuda = torch.device(device).type == "cuda"
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "spacy_padellm": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": version("transformers"),
        "platform": platform.platform(),
        "cpu": cpu,
        "cpu_threads": torch.get_num_threads(),
        "device": device,
        "device_name": torch.cuda.get_device_name(device) if is_cuda else cpu,
        "dtype": dtype,
        **extra,
    }


def _cpu_name(cpuinfo: Path) -> str | None:
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or None
