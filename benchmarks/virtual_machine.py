"""A machine on which time is virtual: an executor that trains nothing, for `schedule.py`. Not a script."""

import heapq
import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

from kdbench.events import (
    EpochEnded,
    Event,
    JobEnded,
    JobStarted,
    RunDone,
    RunMeasured,
    RunsGivenAway,
)
from kdbench.queue.costs import RunCost
from kdbench.queue.executors.base import Job
from kdbench.results import Store, checkpoints
from kdbench.results.timings import TimingEnvironment

START_SECONDS = 2.0  # from the submission of a job to its first epoch
END_SECONDS = 0.2  # from the end of the last run of a job to that of the job
CHECKPOINT_SECONDS = 0.1  # per run that is given away
STEPS = 200  # of every run, per epoch
JITTER = 0.03  # of the seconds of an epoch
MEASUREMENT_SECONDS = 2.0  # of a run, besides its steps
MEASURED_STEPS = 6
NOISE = 0.1  # of measured steps


@final
@dataclass(eq=False)
class _Training:
    """A job that trains: its unfinished runs with the epochs that each has trained."""

    job: Job
    trained: dict[str, int]
    started: float
    requested: set[str] = field(default_factory=set)


@final
class VirtualMachine:
    """Slots on which an epoch takes as long as `costs` has it; polling moves the clock to the next event."""

    def __init__(self, store: Store, costs: Mapping[str, RunCost], slots: int, seed: int = 0) -> None:
        self._store = store
        self._costs = costs
        self._slots = slots
        self._random = random.Random(seed)
        self._order = itertools.count()
        self._events: list[tuple[float, int, Event]] = []
        self._jobs: dict[int, _Training] = {}
        self.clock = 0.0
        self.busy_seconds = 0.0

    def environments(self) -> Sequence[TimingEnvironment]:
        """Return no environment."""
        return ()

    def slot_count(self) -> int:
        """Return the number of slots."""
        return self._slots

    def free_slots(self) -> int:
        """Return the number of slots without a job."""
        return self._slots - len(self._jobs)

    def start(self) -> None:
        """Do nothing."""

    def submit(self, job: Job) -> None:
        """Start a job."""
        if job.kind == "measure":
            self._measure(job)
            return
        trained = {run: self._store.next_epoch(run) for run in job.runs}
        self._jobs[job.id] = _Training(job, trained, self.clock)
        self._at(self.clock, JobStarted(job.id))
        self._begin_epoch(self._jobs[job.id], self.clock + START_SECONDS)

    def _measure(self, job: Job) -> None:
        self._jobs[job.id] = _Training(job, {}, self.clock)
        self._at(self.clock, JobStarted(job.id))
        time = self.clock + START_SECONDS
        for spec in job.specs:
            time += MEASUREMENT_SECONDS + MEASURED_STEPS * self._costs[spec.id].own / STEPS
            cost, noise = self._costs[spec.id], self._random.uniform(1 - NOISE, 1 + NOISE)
            self._at(time, RunMeasured(spec.id, noise * cost.own / STEPS, noise * cost.shared / STEPS, 0.0))
        self._at(time, JobEnded(job.id))

    def give_away(self, job: int, runs: Sequence[str]) -> None:
        """Let a job give away runs at the end of its epoch."""
        if job in self._jobs:
            self._jobs[job].requested |= set(runs)

    def poll(self, timeout: float) -> list[Event]:
        """Return the next events, or none if the next one is later than `timeout` seconds."""
        if not self._events or self._events[0][0] > self.clock + timeout:
            self.clock += timeout
            return []
        self.clock = max(self.clock, self._events[0][0])
        events: list[Event] = []
        while self._events and self._events[0][0] <= self.clock:
            event = heapq.heappop(self._events)[2]
            events.append(event)
            self._handle(event)
        return events

    def cancel(self, job: int) -> None:
        """Do nothing: there is no time limit."""

    def close(self, kill: bool = False) -> None:
        """Do nothing."""

    def _at(self, time: float, event: Event) -> None:
        heapq.heappush(self._events, (time, next(self._order), event))

    def _begin_epoch(self, training: _Training, time: float) -> None:
        jitter = self._random.uniform(1 - JITTER, 1 + JITTER)
        costs = [self._costs[run] for run in training.trained]
        own, shared = [jitter * cost.own for cost in costs], jitter * max(cost.shared for cost in costs)
        epoch, epochs = min(training.trained.values()) + 1, training.job.specs[0].recipe.epochs
        seconds = shared + sum(own)
        runs = tuple(training.trained)
        self._at(time + seconds, EpochEnded(runs, epoch, epochs, 0.0, None, 0.0, seconds, tuple(own)))

    def _handle(self, event: Event) -> None:
        match event:
            case EpochEnded(runs, epoch, epochs):
                training = next(one for one in self._jobs.values() if runs[0] in one.trained)
                training.trained = dict.fromkeys(runs, epoch)
                self._end_epoch(training, epoch, epochs)
            case RunDone(run):
                self._store.write_result(run, {"status": "done", "row": {}})
            case JobEnded(job):
                self.busy_seconds += self.clock - self._jobs.pop(job).started

    def _end_epoch(self, training: _Training, epoch: int, epochs: int) -> None:
        time, job = self.clock, training.job.id
        if epoch == epochs:
            for run in training.trained:
                self._at(time, RunDone(run))
            self._at(time + END_SECONDS, JobEnded(job))
            return
        given = training.requested & training.trained.keys()
        if given:
            time += CHECKPOINT_SECONDS * len(given)
            for run in given:
                checkpoints.write(self._store.folder(run), epoch, b"", {})
                del training.trained[run]
            self._at(time, RunsGivenAway(job, tuple(given), epoch))
        training.requested.clear()
        if training.trained:
            self._begin_epoch(training, time)
        else:
            self._at(time + END_SECONDS, JobEnded(job))
