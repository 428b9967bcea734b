"""Real workers of the local executor that give runs away, and die while the runs change their worker."""

import time
from collections.abc import Iterator

import pytest
import torch
from plans import plan_of
from same_runs import assert_same_runs

from kdbench.events import EpochEnded, Event, JobEnded, RunDone, RunResumed, RunsGivenAway, WorkerDied
from kdbench.matrix import RunSpec
from kdbench.queue.devices import Slot
from kdbench.queue.executors.base import Job
from kdbench.queue.executors.local import LocalExecutor
from kdbench.results import Store
from kdbench.worker.cohort import CohortWorker

pytestmark = pytest.mark.slow
EPOCHS = 150
TIMEOUT = 120.0
OPTIONS = {"checkpoint_minutes": 5.0}


@pytest.fixture
def runs() -> list[RunSpec]:
    """Two runs of one cohort."""
    plan = plan_of(seeds=[0, 1], recipe={"epochs": EPOCHS, "batch_size": 32, "train_samples": 100, "precision": "fp32"})
    return [run for run in plan.runs if run.stream == "student"]


@pytest.fixture
def executor(store: Store) -> Iterator[LocalExecutor]:
    made = LocalExecutor([Slot("cpu", 1)] * 2, store)
    yield made
    made.close(kill=True)


def poll_until(executor: LocalExecutor, kind: type[Event], events: list[Event]) -> Event:
    """Add the events up to the first new one of a kind to `events`, and return that one."""
    deadline, count = time.monotonic() + TIMEOUT, len(events)
    while not (found := [event for event in events[count:] if isinstance(event, kind)]):
        assert time.monotonic() < deadline, events
        events += executor.poll(0.05)
    return found[0]


def test_a_run_goes_on_in_another_worker_that_dies_and_in_a_third_one(
    executor: LocalExecutor, store: Store, runs: list[RunSpec], tmp_path
) -> None:
    given, kept = runs
    events: list[Event] = []
    executor.submit(Job(1, (given, kept), options=OPTIONS))
    poll_until(executor, EpochEnded, events)
    executor.give_away(1, [given.id])
    executor.give_away(9, [kept.id])  # no such job
    away = poll_until(executor, RunsGivenAway, events)
    assert isinstance(away, RunsGivenAway)
    assert away.runs == (given.id,)
    assert [store.state(spec.id) for spec in runs] == ["pending", "running"]
    executor.submit(Job(2, (given,), options=OPTIONS))
    assert poll_until(executor, RunResumed, events) == RunResumed(given.id, away.epoch + 1)
    executor.cancel(2)
    died = poll_until(executor, WorkerDied, events)
    assert isinstance(died, WorkerDied)
    assert (died.job, died.runs) == (2, (given.id,))
    executor.submit(Job(3, (given,), options=OPTIONS))
    while sum(isinstance(event, JobEnded) for event in events) < 2:
        poll_until(executor, JobEnded, events)
    assert {event.run for event in events if isinstance(event, RunDone)} == {given.id, kept.id}
    undisturbed = Store(tmp_path / "undisturbed")
    CohortWorker(runs, undisturbed, torch.device("cpu"), lambda event: None).train()
    assert_same_runs(runs, undisturbed, store)
    assert [store.attempts(spec.id) for spec in runs] == [2, 1]


def test_a_worker_that_dies_after_it_gave_a_run_away_names_only_the_others(
    executor: LocalExecutor, runs: list[RunSpec]
) -> None:
    given, kept = runs
    events: list[Event] = []
    executor.submit(Job(1, (given, kept), options=OPTIONS))
    executor.give_away(1, [given.id])  # before the worker has started
    assert poll_until(executor, RunsGivenAway, events) == RunsGivenAway(1, (given.id,), 0)
    executor.cancel(1)
    died = poll_until(executor, WorkerDied, events)
    assert isinstance(died, WorkerDied)
    assert died.runs == (kept.id,)
