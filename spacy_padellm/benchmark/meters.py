"""Meters: time with devices synchronised, time inside a model, peak memory."""

from __future__ import annotations

import ctypes
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
# Written to `clear_refs`, it makes Linux forget the highest memory use so far.
_RESET_PEAK = "5"
_MB = 2**20


class Clock:
    """A clock that waits for devices.

    Args:
        *devices: The devices to wait for.
    """

    def __init__(self, *devices: torch.device) -> None:
        self._devices = devices

    def now(self) -> float:
        """Return the time in seconds, after everything given to the devices is done."""
        for device in self._devices:
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            elif device.type == "mps":
                torch.mps.synchronize()
        return time.perf_counter()


class ForwardTimer:
    """A timer for the forward passes of a model, which on a GPU reads the GPU's own time.

    Args:
        model: The model.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self._model = model
        self._on_gpu = next(model.parameters()).is_cuda
        self._starts: list[Any] = []
        self._ends: list[Any] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        """Time the passes within a `with` block, starting from zero."""
        self._starts, self._ends = [], []
        hooks = [
            self._model.register_forward_pre_hook(lambda *_: self._starts.append(self._mark())),
            self._model.register_forward_hook(lambda *_: self._ends.append(self._mark())),
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    @property
    def seconds(self) -> float:
        """The time in the passes, in seconds. Synchronise the device before reading it."""
        if self._on_gpu:
            pairs = zip(self._starts, self._ends, strict=True)
            return float(sum(start.elapsed_time(end) for start, end in pairs) / 1000)
        return float(sum(self._ends) - sum(self._starts))

    def _mark(self) -> Any:
        if not self._on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event


class PeakMemory:
    """A meter for the highest memory use.

    On a GPU it reads the allocated memory. On a CPU it reads the resident memory of the process,
    with the weights, if the system is Linux.

    Args:
        *devices: The devices. Of several, the one with the highest use counts.
    """

    def __init__(self, *devices: torch.device) -> None:
        self._devices = devices
        self._is_known = all(
            device.type == "cuda" or (device.type == "cpu" and _forget_peak()) for device in devices
        )

    def reset(self) -> None:
        """Start measuring anew."""
        for device in self._devices if self._is_known else ():
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            else:
                _give_back_freed()
                _forget_peak()

    def read_mb(self) -> float | None:
        """Return the highest use since `reset`, in MB (2**20 bytes); `None` if it is unknown."""
        return max(map(_read_peak_mb, self._devices)) if self._is_known else None


def _read_peak_mb(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / _MB
    status = _STATUS.read_text(encoding="utf8")
    (kilobytes,) = re.findall(r"^VmHWM:\s*(\d+) kB", status, re.MULTILINE)
    return int(kilobytes) / 1024


def _give_back_freed() -> None:
    """Return freed memory to the system, which would otherwise still count it."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def _forget_peak() -> bool:
    """Reset the process's highest memory use, and return whether the system can do so."""
    try:
        _CLEAR.write_text(_RESET_PEAK)
    except OSError:
        return False
    return True
