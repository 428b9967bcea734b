"""A job that a worker trains, and how far it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

from kdbench.events import EpochEnded
from kdbench.queue.costs import CostModel
from kdbench.queue.executors.base import Job
from kdbench.queue.simulation import Part


@final
@dataclass(eq=False)
class RunningJob:
    """A job that was submitted.

    Attributes:
        job: the job.
        worker: the number of its slot, counted from 1.
        submitted: when it was submitted, in seconds of the scheduler's clock.
        deadline: when it is canceled; None: never.
        epochs_left: the unfinished runs of the job, with the epochs that each has left.
        since: when its latest epoch or run ended, or when it was submitted.
        has_trained: whether an epoch has ended.
        emptied: when its last run ended; None while it trains.
        is_late: whether it was canceled.
    """

    job: Job
    worker: int
    submitted: float
    deadline: float | None
    epochs_left: dict[str, int]
    since: float = field(init=False)
    has_trained: bool = False
    emptied: float | None = None
    is_late: bool = False
    _requested: list[set[str]] = field(default_factory=list)  # the parts that it is to give away
    _epochs_since_request: int = 0

    def __post_init__(self) -> None:
        self.since = self.submitted

    @property
    def runs(self) -> list[str]:
        """The ids of the runs that have not finished."""
        return list(self.epochs_left)

    @property
    def parts_requested(self) -> int:
        """The number of parts that it has yet to give away."""
        return len(self._requested)

    def remove(self, run: str, now: float) -> None:
        """Remove a run that has ended, or that the job no longer trains."""
        if self.epochs_left.pop(run, None) is not None:
            self.since, self.emptied = now, None if self.epochs_left else now
            self._requested = [left for part in self._requested if (left := part - {run})]

    def request(self, parts: Sequence[Sequence[str]]) -> list[str]:
        """Record that it is to give these parts away, each to a worker; return their runs."""
        self._requested, self._epochs_since_request = list(map(set, parts)), 0
        return [run for part in parts for run in part]

    def end_epoch(self, event: EpochEnded, now: float) -> None:
        """Record the end of an epoch; a request that is not met one epoch later has come too late."""
        self.epochs_left |= {run: event.epochs - event.epoch for run in event.runs if run in self.epochs_left}
        self.since, self.has_trained = now, True
        self._epochs_since_request += 1
        if self._epochs_since_request > 1:
            self._requested = []

    def part(self, costs: CostModel, now: float) -> Part:
        """Return what is left of it, estimated."""
        shared, own = _seconds(self.epochs_left, costs)
        start = 0.0 if self.has_trained else costs.start_seconds
        seconds = max(0.0, start + shared + own - (now - self.since))
        share = shared / (shared + own) if shared + own else 0.0
        return Part(tuple(self.epochs_left), seconds, share, epochs=max(self.epochs_left.values(), default=1))


def _seconds(epochs_left: Mapping[str, int], costs: CostModel) -> tuple[float, float]:
    """Return the shared and the own seconds of runs; those with the same number of epochs train side by side."""
    shared = own = 0.0
    for epochs in set(epochs_left.values()):
        members = [costs.cost(run) for run, left in epochs_left.items() if left == epochs]
        shared += epochs * max(cost.shared for cost in members)
        own += sum(epochs * cost.own + cost.end for cost in members)
    return shared, own
