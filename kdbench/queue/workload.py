"""What a scheduler is to train: runs, how long they take, and the limits of each job."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, final

from kdbench.queue.costs import CostModel
from kdbench.queue.queued_run import QueuedRun


@final
@dataclass(frozen=True)
class Limits:
    """The keys of `[run]` that apply to every job: minutes per run (None: no limit) and the worker's options."""

    time_limit: float | None = None
    options: Mapping[str, float | bool] = field(default_factory=dict)


class Upcoming(Protocol):
    """Runs that depend on the results of others, such as the chosen configuration of a search."""

    def finish(self, run: str) -> Sequence[QueuedRun]:
        """Return the runs that can be added now that a run has finished or failed."""

    def expected(self) -> Sequence[QueuedRun]:
        """Return stand-ins of the runs that will be added later."""


@final
@dataclass(frozen=True)
class Workload:
    """The runs of a command, finished or not, and how long their epochs take; `upcoming` are added as others finish."""

    runs: Sequence[QueuedRun]
    costs: CostModel
    upcoming: Upcoming | None = None


NO_LIMITS = Limits()
