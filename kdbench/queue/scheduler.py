"""The scheduler: submits cohorts to an executor until every run has finished, then times the deployed networks."""

import itertools
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, final

from kdbench.errors import KdbenchError
from kdbench.events import (
    CohortStarted,
    Event,
    EventHandler,
    JobEnded,
    JobFailed,
    JobStarted,
    RunDone,
    RunFailed,
    RunTakenElsewhere,
    StopRequested,
    TimingStarted,
    WorkerDied,
    WorkerReady,
)
from kdbench.matrix import RunSpec
from kdbench.queue.executors.base import Executor, Job
from kdbench.queue.grouping import QueuedRun, group_runs
from kdbench.queue.signals import Interrupts
from kdbench.results import Store
from kdbench.results.provenance import now, provenance
from kdbench.results.timings import timed_architectures

ATTEMPTS = 2
START_SECONDS = 300.0  # time for a worker to start its job, if the time limit is shorter


@final
@dataclass(frozen=True)
class Limits:
    """The keys of `[run]` that apply to every job: minutes per run (None: no limit) and the worker's options."""

    time_limit: float | None = None
    options: Mapping[str, float | bool] = field(default_factory=dict)


@final
@dataclass(eq=False)
class _RunningJob:
    job: Job
    runs: list[str]  # those that have not finished
    deadline: float | None  # time.monotonic()
    is_late: bool = False
    worker: int = 0  # number of its slot, counted from 1


@final
class Scheduler:
    """Trains pending runs in their order, a cohort per free slot of the executor.

    The results folder holds the state. A run that another process finishes counts as done; a run that another process
    trains is polled until it ends. If a worker dies, each run of its cohort is retried alone, and fails after
    `ATTEMPTS` deaths.
    """

    def __init__(
        self,
        runs: Sequence[QueuedRun],
        store: Store,
        executor: Executor,
        on_event: EventHandler,
        limits: Limits = Limits(),
        interrupts: Interrupts | None = None,
    ) -> None:
        self._runs = {run.spec.id: run for run in runs}
        self._store = store
        self._executor = executor
        self._emit = on_event
        self._limits = limits
        self._interrupts = interrupts or Interrupts()
        self._pending = {run: self._with_next_epoch(run) for run in self._runs if not store.is_finished(run)}
        self._jobs: dict[int, _RunningJob] = {}
        self._last_job = 0
        self._deaths: Counter[str] = Counter()
        self._alone: set[str] = set()
        self._elsewhere: set[str] = set()
        self._done: set[str] = set()
        self._dead_jobs: set[int] = set()
        self._false_starts = 0

    def run(self) -> None:
        """Train every run whose needs are met, then time the deployed networks; stops all workers at the end.

        Raises:
            KdbenchError: no worker can start, or a job failed for a reason that would fail every job.
            KeyboardInterrupt: the user requested a stop.
        """
        try:
            while self._pending:
                self._check_elsewhere()
                self._dispatch()
                if not self._jobs and not self._elsewhere:
                    break
                self._poll()
            self._time_deployed()
        finally:
            self._close()

    def _close(self) -> None:
        try:
            self._executor.close(kill=self._interrupts.is_kill_requested)
        except KeyboardInterrupt:
            self._executor.close(kill=True)
            raise

    def _with_next_epoch(self, run: str) -> QueuedRun:
        return replace(self._runs[run], epoch=self._store.next_epoch(run))

    def _check_elsewhere(self) -> None:
        """Remove runs that another process finished; requeue those that it stopped training."""
        for run in list(self._elsewhere):
            if self._store.is_finished(run):
                self._finish(run)
            elif self._store.state(run) == "pending":
                self._elsewhere.discard(run)
                self._pending[run] = self._with_next_epoch(run)

    def _finish(self, run: str) -> None:
        self._pending.pop(run, None)
        self._elsewhere.discard(run)
        self._remove_from_jobs(run)

    def _remove_from_jobs(self, run: str) -> None:
        for running in self._jobs.values():
            if run in running.runs:
                running.runs.remove(run)

    def _dispatch(self) -> None:
        """Submit a cohort of ready runs to each free slot."""
        free_slots = self._executor.free_slots()
        if not free_slots:
            return
        training = {run for running in self._jobs.values() for run in running.runs}
        ready = [
            queued
            for run, queued in self._pending.items()
            if run not in training and run not in self._elsewhere and self._is_ready(queued.spec)
        ]
        for cohort in self._group(ready, free_slots):
            job = self._submit([queued.spec for queued in cohort], "train")
            self._emit(CohortStarted(job.id, self._worker_of(job.id), job.runs))

    def _worker_of(self, job: int) -> int:
        """Return the number of the slot of a job: the lowest that no other job has."""
        taken = {running.worker for running in self._jobs.values()}
        self._jobs[job].worker = next(number for number in itertools.count(1) if number not in taken)
        return self._jobs[job].worker

    def _group(self, ready: Sequence[QueuedRun], free_slots: int) -> list[list[QueuedRun]]:
        alone = [[queued] for queued in ready if queued.spec.id in self._alone]
        others = [queued for queued in ready if queued.spec.id not in self._alone]
        return [*alone, *group_runs(others, free_slots - len(alone))][:free_slots]

    def _is_ready(self, spec: RunSpec) -> bool:
        return all(self._is_done(need.id) for _, need in spec.needs)

    def _is_done(self, run: str) -> bool:
        if run in self._pending:
            return False  # without reading the disk
        if run not in self._done and self._store.state(run) == "done":
            self._done.add(run)
        return run in self._done

    def _submit(self, specs: Sequence[RunSpec], kind: Literal["train", "time"]) -> Job:
        self._last_job += 1
        job = Job(self._last_job, tuple(specs), kind, self._limits.options if kind == "train" else {})
        self._jobs[job.id] = _RunningJob(job, list(job.runs), self._deadline(job, at_least=START_SECONDS))
        self._executor.submit(job)
        return job

    def _deadline(self, job: Job, at_least: float = 0.0) -> float | None:
        if self._limits.time_limit is None:
            return None
        return time.monotonic() + max(60 * self._limits.time_limit * len(job.specs), at_least)

    def _poll(self) -> None:
        """Handle new events, cancel jobs past their deadline, and check for a requested stop."""
        for event in self._executor.poll(1.0):
            self._handle(event)
        for running in self._jobs.values():
            if running.deadline is not None and time.monotonic() > running.deadline and not running.is_late:
                running.is_late = True
                self._executor.cancel(running.job.id)
        if self._interrupts.is_stop_requested:
            self._emit(StopRequested())
            raise KeyboardInterrupt

    def _handle(self, event: Event) -> None:
        match event:
            case WorkerReady():
                self._false_starts = 0
            case JobStarted(job) if job in self._jobs:
                self._jobs[job].deadline = self._deadline(self._jobs[job].job)
            case RunDone(run) | RunFailed(run):
                self._finish(run)
            case RunTakenElsewhere(run):
                self._elsewhere.add(run)
                self._remove_from_jobs(run)
            case JobEnded(job):
                self._check_dropped(self._jobs.pop(job))
            case WorkerDied():
                event = self._reap(event)
            case JobFailed(error):
                raise KdbenchError(error)
        self._emit(event)

    def _check_dropped(self, ended: _RunningJob) -> None:
        """Count an attempt for each run that a job left unfinished, unless a need of the run was corrupted."""
        for spec in ended.job.specs if ended.job.kind == "train" else ():
            if spec.id in ended.runs and not self._requeue_needs(spec):
                reason = f"the worker dropped this run without an error; see `kdbench logs {spec.id}`"
                self._count_deaths([spec.id], reason)

    def _requeue_needs(self, spec: RunSpec) -> bool:
        """Requeue the needs of a run that are no longer done (corrupted and quarantined); return whether any is."""
        lost = [need.id for _, need in spec.needs if self._store.state(need.id) != "done"]
        for run in lost:
            self._done.discard(run)
            if not self._store.is_finished(run) and run in self._runs:
                self._pending[run] = self._with_next_epoch(run)
        return bool(lost)

    def _reap(self, event: WorkerDied) -> WorkerDied:
        """Count an attempt for each unfinished run of a dead worker; return the event with the complete reason."""
        running = self._jobs.pop(event.job)
        self._dead_jobs.add(event.job)
        reason = _describe_limit(running, self._limits) + event.reason
        if not event.was_ready:
            self._count_false_start(reason)
        elif running.job.kind == "train":
            self._count_deaths(running.runs, reason)
        return replace(event, reason=reason)

    def _count_false_start(self, reason: str) -> None:
        """Count a worker that died before its first job; no run is at fault."""
        self._false_starts += 1
        if self._false_starts >= ATTEMPTS:
            raise KdbenchError(f"no worker can start: {reason}; fix this and rerun the command")

    def _count_deaths(self, runs: Sequence[str], reason: str) -> None:
        unfinished = [run for run in runs if not self._store.is_finished(run)]
        for run in set(runs) - set(unfinished):
            self._finish(run)
        if len(runs) > 1:
            self._alone.update(unfinished)
        for run in unfinished:
            self._deaths[run] += 1
            self._pending[run] = self._with_next_epoch(run)
            if self._deaths[run] >= ATTEMPTS:
                self._fail(run, reason)

    def _fail(self, run: str, reason: str) -> None:
        """Write the failure of a run, unless another process has taken the run."""
        with self._store.claimed(run) as is_claimed:
            if not is_claimed or self._store.is_finished(run):
                self._elsewhere.add(run)
                return
            row = {"attempts": self._store.attempts(run), "finished": now(), **provenance()}
            self._store.write_result(run, {"status": "failed", "error": reason, "row": row})
        self._store.log(run, f"failed: {reason}")
        self._handle(RunFailed(run, reason))

    def _time_deployed(self) -> None:
        """Time one network after the other while nothing else runs."""
        while self._jobs:
            self._poll()
        for spec in self._untimed().values():
            self._emit(TimingStarted(spec.id, spec.student.name))
            self._time(spec)

    def _time(self, spec: RunSpec) -> None:
        for _ in range(ATTEMPTS):
            while not self._executor.free_slots():
                self._poll()
            job = self._submit([spec], "time").id
            while job in self._jobs:
                self._poll()
            if job not in self._dead_jobs:
                return
        raise KdbenchError(f"the worker that times {spec.student.name} died {ATTEMPTS} times; rerun the command")

    def _untimed(self) -> dict[str, RunSpec]:
        """Return one run per deployed architecture that was not timed where jobs run now."""
        timed = timed_architectures(self._store.timings, self._executor.environments())
        architectures = self._store.architectures(self._runs)
        return {key: self._runs[run].spec for key, run in architectures.items() if key not in timed}


def _describe_limit(running: _RunningJob, limits: Limits) -> str:
    if not running.is_late:
        return ""
    size = len(running.job.specs)
    runs = f" x {size} runs" if size > 1 else ""
    return f"exceeded run.time_limit ({limits.time_limit:g} minutes{runs}): "
