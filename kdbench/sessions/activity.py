"""What each worker does, and for how long, from events alone."""

import threading
import time
from collections.abc import Callable, Iterable
from typing import final

from kdbench.events import (
    CohortStarted,
    EpochEnded,
    Event,
    JobEnded,
    JobStarted,
    MeasurementStarted,
    RunDone,
    RunFailed,
    RunsGivenAway,
    RunTakenElsewhere,
    SlotsCounted,
    TimeLeft,
    TimingStarted,
    WorkerDied,
)
from kdbench.formatting import count_of
from kdbench.matrix import RunSpec
from kdbench.results.sessions import WorkerActivity
from kdbench.sessions.text import name_runs
from kdbench.sessions.worker_job import WorkerJob, count_down


@final
class Activity:
    """The workers of a command: their jobs, the time in which they had one, and the epochs that they trained.

    A worker is busy from `JobStarted` to `JobEnded` or `WorkerDied`. Events may come from one thread while others read.

    Args:
        clock: seconds that only grow; the command starts now.
    """

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self._clock = clock or time.monotonic
        self._lock = threading.RLock()
        self._started_at = self._clock()
        self._stopped_at: float | None = None
        self._specs: dict[str, RunSpec] = {}
        self._jobs: dict[int, WorkerJob] = {}
        self._workers: dict[str, int] = {}  # run -> the worker that trained it last
        self._slots = 0  # the present number
        self._most_slots = 0
        self._idle_since: dict[int, float] = {}  # by worker
        self._busy = 0.0  # seconds of jobs that have ended
        self._last_end: float | None = None  # of a job
        self._network = ""  # the one that is timed
        self._estimate: tuple[float, float] | None = None  # seconds left, and since when
        self._epochs: dict[str, tuple[int, int]] = {}  # run -> first and last epoch that was trained
        self._done: dict[str, None] = {}
        self._failed: dict[str, None] = {}

    def add_runs(self, specs: Iterable[RunSpec]) -> None:
        """Add runs that events will name by their ids."""
        with self._lock:
            self._specs |= {spec.id: spec for spec in specs}

    def handle(self, event: Event) -> None:
        """Update after an event."""
        with self._lock:
            match event:
                case SlotsCounted(count):
                    self._count_slots(count)
                case CohortStarted(job, worker, runs):
                    self._submit(job, WorkerJob(worker, "training", self._clock(), self.name(runs), list(runs)))
                case MeasurementStarted(job, worker, runs):
                    self._submit(job, WorkerJob(worker, "measuring", self._clock(), count_of(len(runs), "run")))
                case TimingStarted(_, network):
                    self._network = network
                case JobStarted(job):
                    self._start(job)
                case JobEnded(job) | WorkerDied(job):
                    self._end(job)
                case TimeLeft(seconds):
                    self._estimate = seconds, self._clock()
                case _:
                    self._handle_runs(event)

    def _handle_runs(self, event: Event) -> None:
        match event:
            case EpochEnded():
                self._end_epoch(event)
            case RunDone(run):
                self._done[run] = None
                self._failed.pop(run, None)
                self._release([run])
            case RunFailed(run):
                self._failed[run] = None
                self._release([run])
            case RunTakenElsewhere(run):
                self._release([run])
            case RunsGivenAway(_, runs):
                self._release(runs)

    def _count_slots(self, count: int) -> None:
        busy = {job.worker for job in self._jobs.values()}
        self._idle_since = {n: self._idle_since.get(n, self._clock()) for n in range(1, count + 1) if n not in busy}
        self._slots = count
        self._most_slots = max(self._most_slots, count)

    def _submit(self, job: int, submitted: WorkerJob) -> None:
        self._end(job)
        self._jobs[job] = submitted
        self._workers |= dict.fromkeys(submitted.runs, submitted.worker)
        self._idle_since.pop(submitted.worker, None)
        self._most_slots = max(self._most_slots, submitted.worker)

    def _start(self, job: int) -> None:
        if job not in self._jobs:  # no cohort: it times a network
            worker = min(self._idle_since, default=len(self._jobs) + 1)
            self._submit(job, WorkerJob(worker, "timing", self._clock(), self._network))
        self._jobs[job].started_at = self._clock()

    def _end(self, job: int) -> None:
        ended = self._jobs.pop(job, None)
        if ended is None:
            return
        self._last_end = self._clock()
        self._busy += ended.busy_seconds(self._last_end)
        if ended.worker <= self._slots or not self._slots:
            self._idle_since[ended.worker] = self._last_end

    def _release(self, runs: Iterable[str]) -> None:
        """Remove runs that no worker trains any more."""
        for job in self._jobs.values():
            if not set(job.runs).isdisjoint(runs):
                job.runs = [run for run in job.runs if run not in runs]
                job.task = self.name(job.runs) or job.task

    def _end_epoch(self, event: EpochEnded) -> None:
        for run in event.runs:
            first, last = self._epochs.get(run, (event.epoch, event.epoch))
            self._epochs[run] = min(first, event.epoch), max(last, event.epoch)
        for job in self._jobs.values():
            if not set(job.runs).isdisjoint(event.runs):
                job.epoch, job.epoch_at = event, self._clock()

    def stop(self) -> None:
        """Stop the clock at the end of the last job; jobs that are left are interrupted now."""
        with self._lock:
            for job in list(self._jobs):
                self._end(job)
            self._stopped_at = self._clock() if self._last_end is None else self._last_end

    @property
    def slots(self) -> int:
        """The largest number of workers that could have a job at the same time."""
        return self._most_slots

    @property
    def wall_seconds(self) -> float:
        """Seconds since the start of the command."""
        return (self._clock() if self._stopped_at is None else self._stopped_at) - self._started_at

    @property
    def busy_seconds(self) -> float:
        """The time of all workers in which they had a job."""
        with self._lock:
            return self._busy + sum(job.busy_seconds(self._clock()) for job in self._jobs.values())

    @property
    def seconds_left(self) -> float | None:
        """Seconds until everything is trained and timed; None before the first estimate."""
        estimate = self._estimate
        return None if estimate is None else count_down(estimate[0], self._clock() - estimate[1])

    @property
    def epochs(self) -> dict[str, int]:
        """The number of epochs that were trained of each run."""
        with self._lock:
            return {run: last + 1 - first for run, (first, last) in self._epochs.items()}

    @property
    def done(self) -> tuple[str, ...]:
        """The runs that finished."""
        with self._lock:
            return tuple(self._done)

    @property
    def failed(self) -> tuple[str, ...]:
        """The runs that failed."""
        with self._lock:
            return tuple(self._failed)

    def worker_of(self, run: str) -> int | None:
        """Return the worker that trains a run, or that trained it last."""
        return self._workers.get(run)

    def workers(self) -> tuple[WorkerActivity, ...]:
        """Return what each worker does, by its number."""
        with self._lock:
            now = self._clock()
            idle = [WorkerActivity(worker, "idle", now - since) for worker, since in self._idle_since.items()]
            busy = [job.describe(now) for job in self._jobs.values()]
        return tuple(sorted([*idle, *busy], key=lambda one: one.worker))

    def name(self, runs: Iterable[str]) -> str:
        """Return the networks, the data set, the seed and the methods of runs; empty if they are not known."""
        return name_runs([self._specs[run] for run in runs if run in self._specs])
