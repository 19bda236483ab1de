"""Memory: what to do when there is too little, and how to give back what is free."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch

from .forks import ForkLock

# How much of its memory a process may keep for later, in bytes.
_SPARE = 32 << 20
_PAGES = Path("/proc/self/statm")

# How torch words the error of a device that is out of memory, where it has no type of its own.
# Those that "could not create" something are oneDNN's.
_NO_MEMORY = (
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "could not create a primitive",
    "could not create a memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
)
# How many kernels oneDNN keeps.
_KERNELS = "256"
_WITHOUT_ONEDNN = ForkLock(rank=2)


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error says that a run needs more memory than there is."""
    if isinstance(error, MemoryError | torch.cuda.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(each in str(error) for each in _NO_MEMORY)


@contextmanager
def with_less_memory() -> Iterator[None]:
    """Let torch run without oneDNN for a while, whose kernels need memory of their own.

    One thread at a time, as this holds for the whole process.
    """
    with _WITHOUT_ONEDNN:
        # Not torch's `flags`, which set the precision, too.
        was_enabled = torch._C._get_mkldnn_enabled()
        torch._C._set_mkldnn_enabled(False)
        try:
            yield
        finally:
            torch._C._set_mkldnn_enabled(was_enabled)


def limit_kernels() -> None:
    """Let oneDNN keep few kernels, unless the user said how many.

    It makes one for each shape of a batch, which takes 0.4 ms, and keeps 1,024, which take 40 MB.
    Without effect once it has made one.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", _KERNELS)


class HeapTrimmer:
    """Gives free memory back to the system now and then.

    C's allocator keeps it between the blocks that are in use, and a process that reads texts of all
    lengths would seem to need more and more.
    """

    def __init__(self) -> None:
        # Bytes that the process had after memory was given back.
        self._level: int | None = None

    def trim(self) -> None:
        """Give free memory back, if the process has much more than after the last time."""
        trim = _find_trim()
        if trim is None:
            return
        resident = _resident()
        if self._level is None or resident > self._level + _SPARE:
            trim(0)
            self._level = _resident()


@cache
def _find_trim() -> Callable[[int], int] | None:
    """Find glibc's function for it; other systems do without."""
    if not _PAGES.exists():
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)


def _resident() -> int:
    """Return the memory of this process, in bytes."""
    return int(_PAGES.read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
