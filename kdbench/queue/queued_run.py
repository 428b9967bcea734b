"""A run in the queue."""

from dataclasses import dataclass, field
from typing import final

from kdbench.matrix import RunSpec
from kdbench.queue.costs import EpochWork

GroupKey = tuple[str, int, str | None]  # batches, next epoch, teacher


@final
@dataclass(frozen=True, eq=False)
class QueuedRun:
    """A run that is to be trained.

    Attributes:
        spec: the run.
        batches: the key of its batches: runs with the same one can train side by side.
        work: what an epoch of it takes.
        epoch: the next epoch to train, counted from 0.
        after: runs that must finish before, besides those that it needs.
    """

    spec: RunSpec
    batches: str
    work: EpochWork = field(default_factory=EpochWork)
    epoch: int = 0
    after: frozenset[str] = frozenset()

    @property
    def id(self) -> str:
        """The id of the run."""
        return self.spec.id

    @property
    def needs(self) -> frozenset[str]:
        """The ids of the runs that must finish before."""
        return self.after.union(need.id for _, need in self.spec.needs)

    @property
    def epochs_left(self) -> int:
        """The number of epochs to train."""
        return max(0, self.spec.recipe.epochs - self.epoch)

    @property
    def group(self) -> GroupKey:
        """A key that is equal for runs that share batches, their next epoch and their teacher."""
        teacher = self.spec.teacher
        return self.batches, self.epoch, None if teacher is None else teacher.id
