"""What a result row states about all cohorts in which a run trained, not only about the last one."""

from dataclasses import dataclass
from typing import final


@final
@dataclass(frozen=True)
class TrainingRecord:
    """How a run was trained so far; it is kept in the run's checkpoints.

    Attributes:
        started: when the training started, an ISO 8601 time.
        shared_seconds: the time of the work that the run shared with others.
        cohort_size: the number of runs in the largest cohort.
        peak_memory_mb: the peak memory of a cohort, in MiB; None where no system could measure it.
        environment_changes: how the environment changed when the run was resumed.
    """

    started: str
    shared_seconds: float
    cohort_size: int
    peak_memory_mb: float | None
    environment_changes: tuple[str, ...] = ()

    def followed_by(self, later: "TrainingRecord") -> "TrainingRecord":
        """Return the record of this training and of `later`, in which the run was resumed."""
        return TrainingRecord(
            self.started,
            self.shared_seconds + later.shared_seconds,
            max(self.cohort_size, later.cohort_size),
            highest(self.peak_memory_mb, later.peak_memory_mb),
            self.environment_changes + later.environment_changes,
        )


def highest(*values: float | None) -> float | None:
    """Return the highest of the known values; None if none is known."""
    return max((value for value in values if value is not None), default=None)
