"""The coordinator: hands cohorts to workers until every run has ended, then has the deployed networks timed."""

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

ATTEMPTS = 2
START = 300.0  # seconds that a worker may take until it begins its job, if the time limit is shorter


@final
@dataclass(frozen=True)
class Limits:
    """What `[run]` says of every job; None is no limit."""

    time_limit: float | None = None  # minutes for each run of a job
    options: Mapping[str, float | bool] = field(default_factory=dict)  # those that a worker needs to know


@final
@dataclass(eq=False)
class _Running:
    """A job that has been handed out."""

    job: Job
    runs: list[str]  # those that it still has to tell of
    deadline: float | None  # time.monotonic()
    is_late: bool = False


@final
class Scheduler:
    """Trains what is waiting among the items, in their order, a cohort per free place of the executor.

    The results folder is the state: a run that somebody else finishes meanwhile counts as done, and one that somebody
    else trains is waited for. A run whose worker died in a cohort trains alone from then on, and has failed when that
    has happened `ATTEMPTS` times.
    """

    def __init__(
        self,
        items: Sequence[QueuedRun],
        store: Store,
        executor: Executor,
        on_event: EventHandler,
        limits: Limits = Limits(),
        interrupts: Interrupts | None = None,
    ) -> None:
        self._items = {item.spec.id: item for item in items}
        self._store = store
        self._executor = executor
        self._emit = on_event
        self._limits = limits
        self._interrupts = interrupts or Interrupts()
        self._waiting = {run: self._begun(run) for run in self._items if not store.is_finished(run)}
        self._jobs: dict[int, _Running] = {}
        self._submitted = 0
        self._deaths: Counter[str] = Counter()
        self._alone: set[str] = set()
        self._elsewhere: set[str] = set()
        self._done: set[str] = set()
        self._died: set[int] = set()
        self._false_starts = 0

    def run(self) -> None:
        """Train everything that can be trained, then time what was deployed; all workers have left at the end.

        Raises:
            KdbenchError: a worker cannot read or write what all of them need, or none can start.
            KeyboardInterrupt: somebody wants this to stop.
        """
        try:
            while self._waiting:
                self._look_for_finished()
                self._dispatch()
                if not self._jobs and not self._elsewhere:
                    break
                self._listen()
            self._time_deployed()
        finally:
            self._close()

    def _close(self) -> None:
        try:
            self._executor.close(now=self._interrupts.again)
        except KeyboardInterrupt:
            self._executor.close(now=True)
            raise

    def _begun(self, run: str) -> QueuedRun:
        return replace(self._items[run], epoch=self._store.next_epoch(run))

    def _look_for_finished(self) -> None:
        """Runs that another process on this folder has finished, or left."""
        for run in list(self._elsewhere):
            if self._store.is_finished(run):
                self._ended(run)
            elif self._store.state(run) == "pending":
                self._elsewhere.discard(run)
                self._waiting[run] = self._begun(run)

    def _ended(self, run: str) -> None:
        self._waiting.pop(run, None)
        self._elsewhere.discard(run)
        self._tick_off(run)

    def _tick_off(self, run: str) -> None:
        for running in self._jobs.values():
            if run in running.runs:
                running.runs.remove(run)

    def _dispatch(self) -> None:
        places = self._executor.capacity()
        if not places:
            return
        training = {run for running in self._jobs.values() for run in running.runs}
        ready = [
            item
            for run, item in self._waiting.items()
            if run not in training and run not in self._elsewhere and self._is_ready(item.spec)
        ]
        for cohort in self._cohorts(ready, places):
            self._emit(CohortStarted(tuple(item.spec.id for item in cohort)))
            self._submit([item.spec for item in cohort], "train")

    def _cohorts(self, ready: Sequence[QueuedRun], places: int) -> list[list[QueuedRun]]:
        alone = [[item] for item in ready if item.spec.id in self._alone]
        others = [item for item in ready if item.spec.id not in self._alone]
        return [*alone, *group_runs(others, places - len(alone))][:places]

    def _is_ready(self, spec: RunSpec) -> bool:
        return all(self._is_done(need.id) for _, need in spec.needs)

    def _is_done(self, run: str) -> bool:
        """Whether a run has ended well; one that this queue still waits for has not, and needs no look at the disk."""
        if run in self._waiting:
            return False
        if run not in self._done and self._store.state(run) == "done":
            self._done.add(run)
        return run in self._done

    def _submit(self, specs: Sequence[RunSpec], kind: Literal["train", "time"]) -> _Running:
        self._submitted += 1
        options = self._limits.options if kind == "train" else {}
        job = Job(self._submitted, tuple(specs), kind, options)
        running = self._jobs[job.id] = _Running(job, list(job.runs), self._deadline(job, at_least=START))
        self._executor.submit(job)
        return running

    def _deadline(self, job: Job, at_least: float = 0.0) -> float | None:
        if self._limits.time_limit is None:
            return None
        return time.monotonic() + max(60 * self._limits.time_limit * len(job.specs), at_least)

    def _listen(self) -> None:
        """Wait for what the workers have to tell, and act on it."""
        for event in self._executor.poll(1.0):
            self._handle(event)
        for running in self._jobs.values():
            if running.deadline is not None and time.monotonic() > running.deadline and not running.is_late:
                running.is_late = True
                self._executor.cancel(running.job.id)
        if self._interrupts.wanted:
            self._emit(StopRequested())
            raise KeyboardInterrupt

    def _handle(self, event: Event) -> None:
        match event:
            case WorkerReady():
                self._false_starts = 0
            case JobStarted(job) if job in self._jobs:
                self._jobs[job].deadline = self._deadline(self._jobs[job].job)
            case RunDone(run) | RunFailed(run):
                self._ended(run)
            case RunTakenElsewhere(run):
                self._elsewhere.add(run)
                self._tick_off(run)
            case JobEnded(job):
                self._look_for_untold(self._jobs.pop(job))
            case WorkerDied():
                event = self._reap(event)
            case JobFailed(error):
                raise KdbenchError(error)
        self._emit(event)

    def _look_for_untold(self, running: _Running) -> None:
        """Runs that a job has left as they were: what they need is gone, or else it was an attempt in vain."""
        if running.job.kind == "time":
            return
        for spec in running.job.specs:
            if spec.id in running.runs and not self._repeat_needs(spec):
                self._count_deaths([spec.id], "its worker gave it up without a word; see its log.txt")

    def _repeat_needs(self, spec: RunSpec) -> bool:
        """Let what a run needs wait again if it was done and is so no more (found corrupted, and put aside)."""
        gone = [need.id for _, need in spec.needs if self._store.state(need.id) != "done"]
        for run in gone:
            self._done.discard(run)
            if not self._store.is_finished(run) and run in self._items:
                self._waiting[run] = self._begun(run)
        return bool(gone)

    def _reap(self, event: WorkerDied) -> WorkerDied:
        """A worker died: the runs that it had not finished have used up one attempt; gives the whole reason."""
        running = self._jobs.pop(event.job)
        self._died.add(running.job.id)
        reason = _late(running, self._limits) + event.reason
        if not event.was_ready:
            self._count_false_start(reason)
        elif running.job.kind == "train":
            self._count_deaths(running.runs, reason)
        return replace(event, reason=reason)

    def _count_false_start(self, reason: str) -> None:
        """No run is to blame for a worker that ended before it could begin."""
        self._false_starts += 1
        if self._false_starts >= ATTEMPTS:
            raise KdbenchError(f"no worker can start: {reason}; mend that and run the same command again")

    def _count_deaths(self, runs: Sequence[str], reason: str) -> None:
        unfinished = [run for run in runs if not self._store.is_finished(run)]
        for run in set(runs) - set(unfinished):
            self._ended(run)
        if len(runs) > 1:
            self._alone.update(unfinished)
        for run in unfinished:
            self._deaths[run] += 1
            self._waiting[run] = self._begun(run)
            if self._deaths[run] >= ATTEMPTS:
                self._give_up(run, reason)

    def _give_up(self, run: str, reason: str) -> None:
        """A run has failed for good, unless another process on this folder has taken it up meanwhile."""
        with self._store.claimed(run) as mine:
            if not mine or self._store.is_finished(run):
                self._elsewhere.add(run)
                return
            row = {"attempts": self._store.attempts(run), "finished": now(), **provenance()}
            self._store.write_result(run, {"status": "failed", "error": reason, "row": row})
        self._store.log(run, f"failed: {reason}")
        self._handle(RunFailed(run, reason))

    def _time_deployed(self) -> None:
        """One network after the other, nothing else running."""
        while self._jobs:
            self._listen()
        for spec in self._untimed().values():
            self._emit(TimingStarted(spec.id, spec.student.name))
            self._time(spec)

    def _time(self, spec: RunSpec) -> None:
        for _ in range(ATTEMPTS):
            while not self._executor.capacity():
                self._listen()
            job = self._submit([spec], "time").job
            while job.id in self._jobs:
                self._listen()
            if job.id not in self._died:
                return
        raise KdbenchError("the worker that times inference died; run the same command again to repeat that part")

    def _untimed(self) -> dict[str, RunSpec]:
        """A run of each deployed architecture whose inference has not been timed yet."""
        found: dict[str, RunSpec] = {}
        for run, item in self._items.items():
            key = (self._store.result(run) or {}).get("architecture")
            if key and self._store.timing(key) is None:
                found.setdefault(key, item.spec)
        return found


def _late(running: _Running, limits: Limits) -> str:
    if not running.is_late:
        return ""
    size = len(running.job.specs)
    runs = f" x {size} runs" if size > 1 else ""
    return f"ended after run.time_limit ({limits.time_limit:g} minutes{runs}): "
