"""The scheduler: submits cohorts to an executor until every run has finished, then times the deployed networks."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import final

from kdbench.errors import KdbenchError, StorageError
from kdbench.events import (
    CohortStarted,
    EpochEnded,
    Event,
    EventHandler,
    JobEnded,
    JobFailed,
    JobStarted,
    MeasurementStarted,
    RunDone,
    RunFailed,
    RunMeasured,
    RunsGivenAway,
    RunTakenElsewhere,
    StopRequested,
    TimeLeft,
    TimingStarted,
    WarningIssued,
    WorkerDied,
    WorkerReady,
)
from kdbench.matrix import RunSpec
from kdbench.queue.attempts import ATTEMPTS, Attempts
from kdbench.queue.backlog import Backlog
from kdbench.queue.dispatch import Dispatcher
from kdbench.queue.executors.base import Executor
from kdbench.queue.queued_run import QueuedRun
from kdbench.queue.running_job import RunningJob
from kdbench.queue.running_jobs import RunningJobs
from kdbench.queue.signals import Interrupts
from kdbench.queue.workload import NO_LIMITS, Limits, Workload
from kdbench.results import Store
from kdbench.results.provenance import now as utc_now
from kdbench.results.provenance import provenance
from kdbench.results.timings import timed_architectures

ESTIMATE_SECONDS = 5.0  # between two estimates of the time left


@final
class Scheduler:
    """Trains pending runs on the slots of the executor: those with most work behind them first.

    The runs of a group are divided so that the last one ends as early as possible, and a long job gives runs away to
    idle slots. The results folder holds the state. A run that another process finishes counts as done; a run that
    another process trains is polled until it ends. If a worker dies, each run of its cohort is retried alone, and fails
    after `ATTEMPTS` deaths.

    Args:
        workload: what is to be trained.
        store: the results folder.
        executor: where jobs run; closed at the end.
        on_event: called with each event.
        limits: limits of each job.
        interrupts: the requests to stop.
        clock: the time, in seconds.
    """

    def __init__(
        self,
        workload: Workload,
        store: Store,
        executor: Executor,
        on_event: EventHandler,
        limits: Limits = NO_LIMITS,
        interrupts: Interrupts | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._executor = executor
        self._emit = on_event
        self._limits = limits
        self._interrupts = interrupts or Interrupts()
        self._costs = workload.costs
        self._upcoming = workload.upcoming
        self._clock = clock
        self._backlog = Backlog(store)
        self._attempts = Attempts()
        self._dispatcher = Dispatcher(self._backlog, self._costs, self._attempts.alone)
        self._jobs = RunningJobs(executor, limits, clock)
        self._dead_jobs: set[int] = set()
        self._estimated_at = -math.inf  # when the time left was last emitted
        self._add(workload.runs)

    def run(self) -> None:
        """Train every run whose needs are met, then time the deployed networks; stops all workers at the end.

        Raises:
            KdbenchError: no worker can start, or a job failed for a reason that would fail every job.
            KeyboardInterrupt: the user requested a stop.
        """
        try:
            self._measure()
            while self._backlog.unfinished:
                for run in self._backlog.check_elsewhere():
                    self._finish(run)
                self._dispatch()
                if not self._jobs and not self._backlog.elsewhere:
                    break
                self._poll()
            self._time_deployed()
        finally:
            self._close()

    def _measure(self) -> None:
        """Measure a few steps of each kind of run that was never measured, if this takes little of the whole."""
        if self._limits.options.get("compile"):
            return  # it takes long to compile
        unfinished = self._backlog.unfinished
        for runs in self._dispatcher.worth_measuring(self._jobs.slots):
            job = self._jobs.submit([unfinished[run].spec for run in runs], "measure")
            self._emit(MeasurementStarted(job.job.id, job.worker, job.job.runs))
        while self._jobs:
            self._poll()

    def _close(self) -> None:
        try:
            self._executor.close(kill=self._interrupts.is_kill_requested)
        except KeyboardInterrupt:
            self._executor.close(kill=True)
            raise
        finally:
            self._save_costs()

    def _save_costs(self) -> None:
        """Save how long epochs take, if possible: without it the next command only estimates."""
        try:
            self._costs.save()
        except StorageError as error:
            self._emit(WarningIssued(f"the epoch times are not saved: {error}"))

    def _add(self, runs: Sequence[QueuedRun]) -> None:
        for run in runs:
            self._costs.add(run.spec, run.work)
        self._backlog.add(runs)
        if self._upcoming is not None:
            self._dispatcher.expect(self._upcoming.expected())

    def _finish(self, run: str) -> None:
        self._backlog.finish(run)
        self._jobs.remove(run)
        if self._upcoming is not None and (added := self._upcoming.finish(run)):
            self._add(added)

    def _dispatch(self) -> None:
        """Submit cohorts to the free slots; if there are none, let long jobs give runs away to them."""
        slots, jobs, now = self._jobs.slots, self._jobs.training, self._clock()
        if not slots.free or self._jobs.is_any_ending:
            return
        cohorts = self._dispatcher.next_cohorts(jobs, slots, now)
        for cohort in cohorts:
            job = self._jobs.train(cohort)
            self._emit(CohortStarted(job.job.id, job.worker, job.job.runs))
        given = self._dispatcher.choose_given_away(jobs, slots.free - len(cohorts))
        for job, parts in given.items():
            self._executor.give_away(job.job.id, job.request(parts))

    def _poll(self) -> None:
        """Handle new events, cancel jobs past their deadline, and check for a requested stop."""
        for event in self._executor.poll(1.0):
            self._handle(event)
        self._jobs.cancel_late()
        if self._interrupts.is_stop_requested:
            self._emit(StopRequested())
            raise KeyboardInterrupt

    def _handle(self, event: Event) -> None:
        match event:
            case WorkerReady():
                self._attempts.count_start()
            case JobStarted(job) if job in self._jobs:
                self._jobs.start(job)
            case EpochEnded() | RunMeasured():
                self._observe(event)
            case RunDone(run) | RunFailed(run):
                self._observe_end(run)
                self._finish(run)
            case RunTakenElsewhere(run):
                self._backlog.take_elsewhere(run)
                self._jobs.remove(run)
            case RunsGivenAway(job) if job in self._jobs:
                self._take_back(event)
            case JobEnded(job):
                self._check_dropped(self._jobs.end(job))
            case WorkerDied():
                event = self._reap(event)
            case JobFailed(error):
                raise KdbenchError(error)
        self._emit(event)

    def _observe(self, event: EpochEnded | RunMeasured) -> None:
        if isinstance(event, RunMeasured):
            self._costs.observe_measurement(event)
        else:
            self._end_epoch(event)

    def _end_epoch(self, event: EpochEnded) -> None:
        job = self._jobs.with_epoch(event)
        if job is None:
            return
        now = self._clock()
        if event.run_seconds:
            if not job.has_trained:
                self._costs.observe_start(now - job.submitted - event.seconds)
            self._costs.observe_epoch(event)
        job.end_epoch(event, now)
        if now - self._estimated_at >= ESTIMATE_SECONDS:
            self._estimated_at = now
            seconds = self._dispatcher.seconds_left(self._jobs.training, self._jobs.slots, now)
            networks = {run.spec.student.canonical for run in self._backlog.runs.values()}
            self._emit(TimeLeft(seconds + len(networks) * self._costs.timing_seconds))

    def _observe_end(self, run: str) -> None:
        """Take in what the end of a run cost: the time since the end of its last epoch, or of another run."""
        for job in self._jobs:
            if run in job.epochs_left and job.has_trained:
                self._costs.observe_end(run, self._clock() - job.since)

    def _take_back(self, event: RunsGivenAway) -> None:
        """Queue again what a job has given away."""
        for run in event.runs:
            self._jobs.remove(run)
            self._backlog.requeue(run)

    def _check_dropped(self, ended: RunningJob) -> None:
        """Count an attempt for each run that a job left unfinished, unless a need of the run was corrupted."""
        for spec in ended.job.specs if ended.job.kind == "train" else ():
            if spec.id in ended.runs and not self._backlog.requeue_needs(spec.id):
                reason = f"the worker dropped this run without an error; see `kdbench logs {spec.id}`"
                self._count_deaths([spec.id], reason)

    def _reap(self, event: WorkerDied) -> WorkerDied:
        """Count an attempt for each unfinished run of a dead worker; return the event with the complete reason."""
        running = self._jobs.end(event.job)
        self._dead_jobs.add(event.job)
        reason = self._jobs.describe_limit(running) + event.reason
        if not event.was_ready:
            self._attempts.count_false_start(reason)
        elif running.job.kind == "train":
            self._count_deaths(running.runs, reason)
        return replace(event, reason=reason)

    def _count_deaths(self, runs: Sequence[str], reason: str) -> None:
        unfinished = [run for run in runs if not self._store.is_finished(run)]
        for run in set(runs) - set(unfinished):
            self._finish(run)
        failed = self._attempts.count_death(runs, unfinished)
        for run in unfinished:
            self._backlog.requeue(run)
        for run in failed:
            self._fail(run, reason)

    def _fail(self, run: str, reason: str) -> None:
        """Write the failure of a run, unless another process has taken the run."""
        with self._store.claimed(run) as is_claimed:
            if not is_claimed or self._store.is_finished(run):
                self._backlog.take_elsewhere(run)
                return
            row = {"attempts": self._store.attempts(run), "finished": utc_now(), **provenance()}
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
            started = self._clock()
            job = self._jobs.submit([spec], "time").job.id
            while job in self._jobs:
                self._poll()
            if job not in self._dead_jobs:
                self._costs.observe_timing(self._clock() - started)
                return
        raise KdbenchError(f"the worker that times {spec.student.name} died {ATTEMPTS} times; rerun the command")

    def _untimed(self) -> dict[str, RunSpec]:
        """Return one run per deployed architecture that was not timed where jobs run now."""
        timed = timed_architectures(self._store.timings, self._executor.environments())
        runs = self._backlog.runs
        architectures = self._store.architectures(runs)
        return {key: runs[run].spec for key, run in architectures.items() if key not in timed}
