"""The stopwatch on the CPU and with the events of a GPU."""

import time

import pytest
import torch

from kdbench.training import stopwatch
from kdbench.training.stopwatch import Stopwatch


class FakeEvent:
    """A CUDA event; 250 ms pass from each event to the next."""

    count = 0

    def __init__(self):
        FakeEvent.count += 1
        self.number, self.is_synchronized = FakeEvent.count, False

    def synchronize(self):
        self.is_synchronized = True

    def elapsed_time(self, end):
        assert end.is_synchronized, "the time is read before the GPU has reached the event"
        return 250.0 * (end.number - self.number)


def test_only_the_time_inside_is_counted():
    watch, started = Stopwatch(torch.device("cpu")), time.perf_counter()
    time.sleep(0.05)
    for _ in range(2):
        with watch.running():
            time.sleep(0.01)
    assert 0.02 <= watch.seconds <= time.perf_counter() - started - 0.05
    assert watch.seconds == watch.seconds


def test_work_that_raises_is_counted():
    watch = Stopwatch(torch.device("cpu"))
    with pytest.raises(ZeroDivisionError), watch.running():
        1 / sum(time.sleep(0.01) is not None for _ in range(2))
    assert watch.seconds >= 0.02


def test_gpu_time_is_between_two_events_and_counted_once(monkeypatch):
    monkeypatch.setattr(stopwatch, "_record_event", FakeEvent)
    watch = Stopwatch(torch.device("cuda"))
    assert watch.seconds == 0
    for _ in range(3):
        with watch.running():
            pass
    assert [watch.seconds, watch.seconds] == [0.75, 0.75]
    with watch.running():
        pass
    assert watch.seconds == 1.0
