from __future__ import annotations

import pytest
import torch

from spacy_padellm.benchmark import meters
from spacy_padellm.benchmark.meters import Clock, ForwardTimer, PeakMemory

CPU = torch.device("cpu")


class Model(torch.nn.Module):
    """Takes as long as it is told, by a clock that nothing else moves."""

    def __init__(self, clock: list[float]) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self._clock = clock

    def forward(self, seconds: float) -> None:
        self._clock[0] += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    time = [100.0]
    monkeypatch.setattr(meters.time, "perf_counter", lambda: time[0])
    return time


def test_only_the_model_is_timed(clock):
    model = Model(clock)
    timer = ForwardTimer(model)
    start = Clock(CPU).now()
    with timer.running():
        clock[0] += 5
        model(2)
        clock[0] += 5
        model(3)
    assert Clock(CPU).now() - start == 15
    assert timer.seconds == 5
    model(10)
    assert timer.seconds == 5
    with timer.running():
        pass
    assert timer.seconds == 0


def test_the_timer_leaves_no_hooks():
    model = Model([0.0])
    with pytest.raises(RuntimeError), ForwardTimer(model).running():
        raise RuntimeError
    assert not model._forward_hooks
    assert not model._forward_pre_hooks


def test_a_peak_is_seen_and_forgotten():
    memory = PeakMemory(CPU)
    memory.reset()
    before = memory.read_mb()
    if before is None:
        pytest.skip("this process is not told its peak")
    big = torch.ones(2**25)
    with_big = memory.read_mb()
    del big
    assert with_big > before + 100
    # Its pages are gone, but not the peak; the kernel rounds a little.
    assert memory.read_mb() > with_big - 10
    memory.reset()
    assert memory.read_mb() < with_big - 50


def test_several_gpus_are_waited_for_and_asked(monkeypatch):
    gpus = [torch.device("cuda:0"), torch.device("cuda:1")]
    waited, begun = [], []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", begun.append)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda gpu: (gpu.index + 1) * 2**20)
    Clock(*gpus).now()
    assert waited == gpus
    memory = PeakMemory(*gpus)
    memory.reset()
    assert begun == gpus
    assert memory.read_mb() == 2
    assert PeakMemory(*gpus, torch.device("mps")).read_mb() is None


def test_a_device_that_does_not_tell():
    memory = PeakMemory(torch.device("meta"))
    memory.reset()
    assert memory.read_mb() is None
