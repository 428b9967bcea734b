"""Seconds of work, on the processor and in a GPU's queue."""

import time

import pytest
import torch

from kdbench.training import stopwatch
from kdbench.training.stopwatch import Stopwatch


class Queued:
    """An event of a GPU that takes 250 ms for everything between two events."""

    number = 0

    def __init__(self):
        Queued.number += 1
        self.place, self.waited_for = Queued.number, False

    def synchronize(self):
        self.waited_for = True

    def elapsed_time(self, end):
        assert end.waited_for, "an event is read before the GPU has reached it"
        return 250.0 * (end.place - self.place)


def test_only_what_is_inside_is_counted():
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


def test_a_gpus_work_is_what_lies_between_events_and_is_counted_once(monkeypatch):
    monkeypatch.setattr(stopwatch, "_event", Queued)
    watch = Stopwatch(torch.device("cuda"))
    assert watch.seconds == 0
    for _ in range(3):
        with watch.running():
            pass
    assert [watch.seconds, watch.seconds] == [0.75, 0.75]
    with watch.running():
        pass
    assert watch.seconds == 1.0
