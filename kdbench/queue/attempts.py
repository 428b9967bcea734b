"""Counts the deaths of workers: those during a run, and those before any job."""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import final

from kdbench.errors import KdbenchError

ATTEMPTS = 2


@final
class Attempts:
    """The attempts that runs have used by the deaths of their workers.

    `alone` are the runs whose cohort has died: each is retried without others.
    """

    def __init__(self) -> None:
        self.alone: set[str] = set()
        self._deaths: Counter[str] = Counter()
        self._false_starts = 0

    def count_death(self, cohort: Collection[str], unfinished: Sequence[str]) -> list[str]:
        """Count a death for the unfinished runs of a cohort; return those that have used all attempts."""
        if len(cohort) > 1:
            self.alone.update(unfinished)
        self._deaths.update(unfinished)
        return [run for run in unfinished if self._deaths[run] >= ATTEMPTS]

    def count_false_start(self, reason: str) -> None:
        """Count a worker that died before its first job; no run is at fault.

        Raises:
            KdbenchError: no worker can start.
        """
        self._false_starts += 1
        if self._false_starts >= ATTEMPTS:
            raise KdbenchError(f"no worker can start: {reason}; fix this and rerun the command")

    def count_start(self) -> None:
        """Count a worker that has started: earlier false starts do not matter."""
        self._false_starts = 0
