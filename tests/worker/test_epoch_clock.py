"""The seconds of a cohort's epochs."""

from types import SimpleNamespace

import pytest

from kdbench.worker import epoch_clock
from kdbench.worker.epoch_clock import EpochClock


@pytest.fixture
def clock(monkeypatch):
    """The time that the module reads."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(epoch_clock, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def test_the_time_between_epochs_and_the_work_before_them_do_not_count(clock):
    own = {"a": 50.0, "b": 0.0}
    epochs = EpochClock(list(own), own.get)
    clock.now += 10
    own["a"] += 4
    own["b"] += 3
    first = epochs.end_epoch(["a", "b"])
    clock.now += 1000  # a checkpoint is written
    epochs.start_epoch()
    clock.now += 8
    own["b"] += 5
    second = epochs.end_epoch(["a", "b"])
    assert (first.seconds, first.run_seconds, first.mean) == (10.0, (4.0, 3.0), 10.0)
    assert (second.seconds, second.run_seconds, second.mean) == (8.0, (0.0, 5.0), 9.0)


def test_the_mean_is_that_of_epochs_with_the_same_members(clock):
    epochs = EpochClock(["a", "b"], lambda member: 0.0)
    means = []
    for members, seconds in [(["a", "b"], 9), (["a", "b"], 11), (["b"], 4), (["b"], 2)]:
        epochs.start_epoch()
        clock.now += seconds
        means.append(epochs.end_epoch(members).mean)
    assert means == [9.0, 10.0, 4.0, 3.0]
