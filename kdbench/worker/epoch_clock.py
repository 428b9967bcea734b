"""Measure the epochs of a cohort: wall time, and what of it is each run's own."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

from kdbench.training.member import Member


@final
@dataclass(frozen=True)
class EpochTime:
    """Seconds of an epoch, those of each run's own steps and evaluation, and the mean of the epochs of these runs."""

    seconds: float
    run_seconds: tuple[float, ...]
    mean: float


@final
class EpochClock:
    """Measures epochs without what happens between them, such as writing checkpoints.

    Args:
        members: the runs of the cohort.
        own_seconds: returns how long a run's own steps and evaluations have taken so far.
    """

    def __init__(self, members: Sequence[Member], own_seconds: Callable[[Member], float]) -> None:
        self._own_seconds = own_seconds
        self._before = {member: own_seconds(member) for member in members}
        self._members: list[Member] = []
        self._epochs: list[float] = []  # in which exactly these members trained
        self.start_epoch()

    def start_epoch(self) -> None:
        """Start to measure an epoch."""
        self._started = time.monotonic()

    def end_epoch(self, active: Sequence[Member]) -> EpochTime:
        """Return the time of the epoch in which the members in `active` trained."""
        own = {member: self._own_seconds(member) for member in active}  # on a GPU this waits for the end of the work
        seconds = time.monotonic() - self._started
        if self._members != list(active):
            self._members, self._epochs = list(active), []
        self._epochs.append(seconds)
        spent = tuple(own[member] - self._before[member] for member in active)
        self._before |= own
        return EpochTime(seconds, spent, sum(self._epochs) / len(self._epochs))
