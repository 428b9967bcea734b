"""Decides which runs the free slots train, and which runs a long job gives away."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import final

from kdbench.queue.backlog import Backlog
from kdbench.queue.costs import CostModel
from kdbench.queue.planned_runs import make_planned_runs
from kdbench.queue.planning import Counts, Schedule, cut, make_schedule
from kdbench.queue.queued_run import QueuedRun
from kdbench.queue.running_job import RunningJob
from kdbench.queue.simulation import Machine, PlannedRun, cohort_seconds

MEASURED_SHARE = 0.01  # of all that is to be trained
MEASURED_STEPS, MEASUREMENT_SECONDS = 6, 2.0  # what a measurement takes: steps of the run, and everything else
CHECKPOINT_SECONDS = 0.1  # for the checkpoint of a run: writing and reading


@final
@dataclass(frozen=True)
class Slots:
    """The slots of an executor: those on which a job can start now, and all."""

    free: int
    total: int


@final
class Dispatcher:
    """Plans the queue.

    Args:
        backlog: the unfinished runs.
        costs: how long epochs take.
        alone: the runs that must not train with others.
    """

    def __init__(self, backlog: Backlog, costs: CostModel, alone: Collection[str]) -> None:
        self._backlog = backlog
        self._costs = costs
        self._alone = alone
        self._expected: Sequence[QueuedRun] = ()
        self._counts: Counts = {}

    def expect(self, runs: Sequence[QueuedRun]) -> None:
        """Replace the runs that will be added later: they count as work that waits, and are not dispatched."""
        self._expected = runs
        for run in runs:
            self._costs.add(run.spec, run.work)

    def worth_measuring(self, slots: Slots) -> list[list[str]]:
        """Return, for each free slot, runs of which a few steps are to be measured before anything trains.

        It is a run of each kind that was never measured; if this would take more than `MEASURED_SHARE` of all, one of
        each network; else none.
        """
        unfinished = self._backlog.unfinished
        allowed = MEASURED_SHARE * self.seconds_left((), slots, 0.0)
        for runs in (self._costs.unmeasured(unfinished), self._costs.unmeasured_networks(unfinished)):
            parts = [part for first in range(slots.free) if (part := runs[first :: slots.free])]
            if max(map(self._measurement_seconds, parts), default=0.0) <= allowed:
                return parts
        return []

    def _measurement_seconds(self, runs: Sequence[str]) -> float:
        return sum(MEASUREMENT_SECONDS + MEASURED_STEPS * self._costs.step_seconds(run) for run in runs)

    def next_cohorts(self, jobs: Sequence[RunningJob], slots: Slots, now: float) -> list[list[QueuedRun]]:
        """Return the cohorts for the free slots."""
        if not self._backlog.has_ready({run for job in jobs for run in job.epochs_left}):
            return []
        schedule = self._schedule(jobs, slots, now, None)
        self._counts = schedule.counts
        starting = [part for part, start in zip(schedule.parts, schedule.starts, strict=True) if start <= 0]
        unfinished = self._backlog.unfinished
        cohorts = [[unfinished[run] for run in part.runs] for part in starting if not part.needs]
        return cohorts[: slots.free]

    def seconds_left(self, jobs: Sequence[RunningJob], slots: Slots, now: float) -> float:
        """Return the seconds until all runs have finished, by the latest plan."""
        return self._schedule(jobs, slots, now, self._counts).end

    def _schedule(self, jobs: Sequence[RunningJob], slots: Slots, now: float, counts: Counts | None) -> Schedule:
        busy = [job.part(self._costs, now) for job in jobs]
        start_seconds = self._costs.start_seconds
        waiting = max(0, slots.total - slots.free - len(busy))  # free soon, such as the second slot of a GPU
        machine = Machine(busy, [*[0.0] * slots.free, *[start_seconds] * waiting], start_seconds)
        return make_schedule(self._planned_runs({run for part in busy for run in part.runs}), machine, counts)

    def _planned_runs(self, running: Collection[str]) -> list[PlannedRun]:
        waiting = [run for run in self._backlog.unfinished.values() if run.id not in running]
        ours = [run for run in waiting if run.id not in self._backlog.elsewhere]
        expected = [run for run in self._expected if run.id not in self._backlog.runs]
        needs = {run: self._backlog.open_needs(run) for run in (*ours, *expected)}
        return make_planned_runs(needs, self._costs.cost, self._alone)

    def choose_given_away(self, jobs: Sequence[RunningJob], free: int) -> dict[RunningJob, list[list[str]]]:
        """Return the jobs that give runs away to idle slots, with the runs of each part but the first.

        Idle slots go, one by one, to the job with the longest part. A job gives runs away only where the seconds saved
        exceed what it costs to start them elsewhere, once all epochs that are running have ended.
        """
        candidates = {job: self._divisible(job) for job in jobs if job.has_trained and not job.parts_requested}
        parts = {job: [runs] for job, runs in candidates.items() if len(runs) > 1}
        for _ in range(free - sum(job.parts_requested for job in jobs)):
            longest = max(
                (job for job in parts if len(parts[job]) < len(candidates[job])),
                key=lambda job: max(map(cohort_seconds, parts[job])),
                default=None,
            )
            if longest is not None:
                parts[longest] = cut(candidates[longest], len(parts[longest]) + 1)
        return {
            job: [[run.id for run in part] for part in several[1:]]
            for job, several in parts.items()
            if len(several) > 1 and self._pays(candidates[job], several)
        }

    def _divisible(self, job: RunningJob) -> list[PlannedRun]:
        """Return the runs of a job that train side by side, after the epoch that is running."""
        fewest = min(job.epochs_left.values(), default=0)
        runs = [run for run, epochs in job.epochs_left.items() if epochs == fewest]
        costs = {run: self._costs.cost(run) for run in runs}
        epochs = fewest - 1
        return [PlannedRun(run, "", epochs * costs[run].own, epochs * costs[run].shared) for run in runs if epochs > 0]

    def _pays(self, runs: Sequence[PlannedRun], parts: Sequence[Sequence[PlannedRun]]) -> bool:
        given = sum(map(len, parts[1:]))
        cost = self._costs.start_seconds + CHECKPOINT_SECONDS * given
        return cohort_seconds(runs) - max(map(cohort_seconds, parts)) > cost
