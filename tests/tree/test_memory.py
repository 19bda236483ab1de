from __future__ import annotations

import os

import pytest
import torch

from spacy_padellm.tree import memory
from spacy_padellm.tree.memory import HeapTrimmer, is_out_of_memory, limit_kernels, with_less_memory

MB = 1 << 20


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.cuda.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("could not create a primitive"),
    ],
)
def test_errors_for_want_of_memory(error: BaseException):
    assert is_out_of_memory(error)


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ValueError("out of memory")])
def test_other_errors(error: BaseException):
    assert not is_out_of_memory(error)


def test_onednn_is_left_out_for_a_while():
    before = torch._C._get_mkldnn_enabled()
    with pytest.raises(KeyError), with_less_memory():
        assert not torch._C._get_mkldnn_enabled()
        raise KeyError
    assert torch._C._get_mkldnn_enabled() is before


@pytest.mark.parametrize("given, kept", [(None, "256"), ("7", "7")])
def test_onednn_keeps_few_kernels(monkeypatch, given: str | None, kept: str):
    name = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
    monkeypatch.delenv(name, raising=False)
    if given is not None:
        monkeypatch.setenv(name, given)
    limit_kernels()
    assert os.environ[name] == kept


def test_memory_is_given_back_if_there_is_much_of_it(monkeypatch):
    """After the first run, and whenever the process has much more than after the last time."""
    resident, given = [500 * MB], []

    def trim(_: int) -> int:
        given.append(resident[0] // MB)
        # Fifty of it was free.
        resident[0] -= 50 * MB
        return 1

    monkeypatch.setattr(memory, "_find_trim", lambda: trim)
    monkeypatch.setattr(memory, "_resident", lambda: resident[0])
    heap = HeapTrimmer()
    for size in (500, 460, 480, 490, 460, 470, 500):
        resident[0] = size * MB
        heap.trim()
    assert given == [500, 490, 500]


def test_systems_that_lack_it(monkeypatch):
    monkeypatch.setattr(memory, "_find_trim", lambda: None)
    HeapTrimmer().trim()


@pytest.mark.skipif(not memory._PAGES.exists(), reason="Linux only")
def test_memory_is_really_given_back():
    blocks = [torch.ones(100_000) for _ in range(1000)]
    heap, before = HeapTrimmer(), memory._resident()
    assert before > 400_000_000
    del blocks
    heap.trim()
    assert memory._resident() < before - 300_000_000
