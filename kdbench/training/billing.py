"""Who pays for the outputs of frozen networks that the runs of a cohort share."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import final

from kdbench.training.stopwatch import Stopwatch


@final
class Bills:
    """The seconds that each run of a cohort is billed for outputs that it reads and did not compute itself.

    An output is billed in full to every run that reads it, once, as if the run were alone. A run that reads no output
    is billed nothing.
    """

    def __init__(self) -> None:
        self._reader: str | None = None
        self._open: list[tuple[str, Stopwatch]] = []  # added up by `settle`: on a GPU `seconds` synchronizes
        self._seconds: dict[str, float] = {}

    @property
    def reader(self) -> str | None:
        """The run whose step is running, or None."""
        return self._reader

    @contextmanager
    def reading(self, run: str) -> Iterator[None]:
        """Bill the outputs that are read inside to a run."""
        self._reader = run
        try:
            yield
        finally:
            self._reader = None

    def add(self, cost: Stopwatch) -> None:
        """Bill the cost of an output to the run whose step is running."""
        if self._reader is not None:
            self._open.append((self._reader, cost))

    def settle(self) -> None:
        """Add up what was billed so far; synchronizes with the GPU. Called once an epoch, or the list would grow."""
        for reader, cost in self._open:
            self._seconds[reader] = self._seconds.get(reader, 0.0) + cost.seconds
        self._open.clear()

    def seconds(self, run: str) -> float:
        """Return the seconds that a run has been billed; synchronizes with the GPU."""
        self.settle()
        return self._seconds.get(run, 0.0)
