"""A job of a worker, while it lasts."""

from dataclasses import dataclass, field
from math import isfinite
from typing import Literal, final

from kdbench.events import EpochEnded
from kdbench.results.sessions import WorkerActivity


@final
@dataclass(eq=False)
class WorkerJob:
    """A job that was submitted to a worker. All times are those of one clock, in seconds."""

    worker: int
    state: Literal["training", "measuring", "timing"]
    submitted_at: float
    task: str
    runs: list[str] = field(default_factory=list)  # those that have not finished
    started_at: float | None = None
    epoch: EpochEnded | None = None  # the last one
    epoch_at: float = 0.0

    def busy_seconds(self, now: float) -> float:
        """Return the seconds since its worker has started it."""
        return 0.0 if self.started_at is None else now - self.started_at

    def describe(self, now: float) -> WorkerActivity:
        """Return what the worker does."""
        since = self.submitted_at if self.started_at is None else self.started_at
        last = self.epoch
        state = "starting" if self.started_at is None and last is None else self.state
        if last is None:
            return WorkerActivity(self.worker, state, now - since, self.task, tuple(self.runs))
        return WorkerActivity(
            self.worker,
            state,
            now - since,
            self.task,
            tuple(self.runs),
            epoch=last.epoch,
            epochs=last.epochs,
            seconds_left=count_down(last.seconds_left, now - self.epoch_at),
            loss=last.loss if isfinite(last.loss) else None,
            val_accuracy=last.val_accuracy,
        )


def count_down(seconds: float, elapsed: float) -> float:
    """Return what is left of an estimate after some seconds."""
    return max(0.0, seconds - elapsed)
