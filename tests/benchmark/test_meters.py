from __future__ import annotations

import sys
import time

import pytest
import torch

from spacy_padellm.benchmark.meters import Clock, ForwardTimer, PeakMemory

CPU = torch.device("cpu")


class Sleeper(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, seconds: float) -> None:
        time.sleep(seconds)


def test_only_the_model_is_timed():
    model = Sleeper()
    timer, clock = ForwardTimer(model), Clock(CPU)
    start = clock.now()
    with timer.running():
        time.sleep(0.05)
        model(0.02)
        model(0.03)
    total = clock.now() - start
    assert 0.05 <= timer.seconds < total - 0.04
    model(0.1)
    assert timer.seconds < total
    with timer.running():
        pass
    assert timer.seconds == 0


def test_the_timer_leaves_no_hooks():
    model = Sleeper()
    with pytest.raises(RuntimeError), ForwardTimer(model).running():
        raise RuntimeError
    assert not model._forward_hooks
    assert not model._forward_pre_hooks


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_a_peak_is_seen_and_forgotten():
    memory = PeakMemory(CPU)
    memory.reset()
    before = memory.read_mb()
    assert before is not None
    big = torch.ones(2**26)
    with_big = memory.read_mb()
    del big
    assert memory.read_mb() >= with_big > before + 200
    memory.reset()
    assert memory.read_mb() < with_big - 100


def test_a_device_that_does_not_tell():
    memory = PeakMemory(torch.device("meta"))
    memory.reset()
    assert memory.read_mb() is None
