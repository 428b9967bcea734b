"""The jobs that an executor runs, and the slots that are free."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import final

from kdbench.events import EpochEnded
from kdbench.matrix import RunSpec
from kdbench.queue.dispatch import Slots
from kdbench.queue.executors.base import Executor, Job, JobKind
from kdbench.queue.queued_run import QueuedRun
from kdbench.queue.running_job import RunningJob
from kdbench.queue.workload import Limits

ENDING_SECONDS = 10.0  # at most, from the end of the last run of a job to that of the job
START_SECONDS = 300.0  # time for a worker to start its job, if the time limit is shorter


@final
class RunningJobs:
    """The jobs that were submitted and have not ended.

    Args:
        executor: where jobs run.
        limits: limits of each job.
        clock: the time, in seconds.
    """

    def __init__(self, executor: Executor, limits: Limits, clock: Callable[[], float]) -> None:
        self._executor = executor
        self._limits = limits
        self._clock = clock
        self._jobs: dict[int, RunningJob] = {}
        self._last = 0

    def __contains__(self, job: int) -> bool:
        return job in self._jobs

    def __getitem__(self, job: int) -> RunningJob:
        return self._jobs[job]

    def __iter__(self) -> Iterator[RunningJob]:
        return iter(self._jobs.values())

    def __len__(self) -> int:
        return len(self._jobs)

    @property
    def slots(self) -> Slots:
        """The slots of the executor."""
        return Slots(self._executor.free_slots(), self._executor.slot_count())

    @property
    def training(self) -> list[RunningJob]:
        """The jobs that train a run."""
        return [job for job in self if job.job.kind == "train" and job.epochs_left]

    @property
    def is_any_ending(self) -> bool:
        """Whether a worker is about to be free: the last run of its job has ended."""
        ends = (job.emptied for job in self if job.job.kind == "train" and job.emptied is not None)
        return any(self._clock() - end < ENDING_SECONDS for end in ends)

    def with_epoch(self, event: EpochEnded) -> RunningJob | None:
        """Return the job of which an epoch has ended, or None if it trains none of the runs any more."""
        return next((job for job in self if job.epochs_left.keys() & event.runs), None)

    def train(self, cohort: Sequence[QueuedRun]) -> RunningJob:
        """Submit the training of runs, side by side."""
        return self.submit([run.spec for run in cohort], "train", {run.id: run.epochs_left for run in cohort})

    def submit(
        self, specs: Sequence[RunSpec], kind: JobKind, epochs_left: Mapping[str, int] = MappingProxyType({})
    ) -> RunningJob:
        """Submit a job; `epochs_left` are those of each run that it trains."""
        self._last += 1
        job = Job(self._last, tuple(specs), kind, self._limits.options if kind != "time" else {})
        taken = {running.worker for running in self}
        worker = next(number for number in itertools.count(1) if number not in taken)
        deadline = self._deadline(job, at_least=START_SECONDS)
        self._jobs[job.id] = RunningJob(job, worker, self._clock(), deadline, dict(epochs_left))
        self._executor.submit(job)
        return self._jobs[job.id]

    def start(self, job: int) -> None:
        """Record that a worker has started a job: its time limit starts."""
        self._jobs[job].deadline = self._deadline(self._jobs[job].job)

    def end(self, job: int) -> RunningJob:
        """Remove a job that has ended, and return it."""
        return self._jobs.pop(job)

    def remove(self, run: str) -> None:
        """Remove a run that has ended, or that no job trains any longer."""
        for job in self:
            job.remove(run, self._clock())

    def cancel_late(self) -> None:
        """Cancel the jobs that have passed their deadline."""
        for running in self:
            if running.deadline is not None and self._clock() > running.deadline and not running.is_late:
                running.is_late = True
                self._executor.cancel(running.job.id)

    def describe_limit(self, running: RunningJob) -> str:
        """Return the beginning of the reason why a job has died: the time limit, if it was that."""
        if not running.is_late:
            return ""
        size = len(running.job.specs)
        runs = f" x {size} runs" if size > 1 else ""
        return f"exceeded run.time_limit ({self._limits.time_limit:g} minutes{runs}): "

    def _deadline(self, job: Job, at_least: float = 0.0) -> float | None:
        if self._limits.time_limit is None:
            return None
        return self._clock() + max(60 * self._limits.time_limit * len(job.specs), at_least)
