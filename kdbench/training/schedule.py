"""Learning-rate schedules as functions of progress, so that players may step at different rates."""

import math
from bisect import bisect_right
from collections.abc import Mapping
from typing import Any, final

from kdbench.matrix.recipe import Constant, Cosine, MultiStep, OneCycle, Plateau, Schedule


def lr_factor(schedule: Schedule, progress: float, epochs: float) -> float:
    """What the recipe's learning rate is multiplied by.

    Args:
        progress: share of the run (or of the cycle) that is done, 0 to 1.
        epochs: how long the run (or the cycle) is; warm-up and milestones are given in epochs.
    """
    done = progress * epochs
    warm = min(done / schedule.warmup, 1.0) if schedule.warmup else 1.0
    match schedule:
        case Constant() | Plateau():
            return warm
        case MultiStep():
            return warm * schedule.gamma ** bisect_right(sorted(schedule.milestones), done + 1e-9)
        case Cosine():
            return warm * (schedule.min_lr_ratio + (1 - schedule.min_lr_ratio) * _cosine(progress))
        case OneCycle():
            return warm * _one_cycle(schedule, progress)


def cycle_at(progress: float, cycles: int) -> tuple[int, float]:
    """Which of `cycles` equal parts of the run is on, from 0, and the share of it that is done.

    Rounded, because 15 / 22 * 22 is a little below 15.
    """
    done = round(progress * cycles, 9)
    number = min(int(done), cycles - 1)
    return number, done - number


def _cosine(share: float) -> float:
    """From 1 to 0 along half a cosine."""
    return (1 + math.cos(math.pi * min(share, 1.0))) / 2


def _one_cycle(schedule: OneCycle, progress: float) -> float:
    if progress < schedule.pct_start:
        low = 1 / schedule.div_factor
        return 1 - (1 - low) * _cosine(progress / schedule.pct_start)
    low = 1 / (schedule.div_factor * schedule.final_div_factor)
    return low + (1 - low) * _cosine((progress - schedule.pct_start) / (1 - schedule.pct_start))


@final
class PlateauWatch:
    """The factor of the `plateau` schedule: falls when the validation loss has not improved for `patience` epochs."""

    def __init__(self, schedule: Plateau) -> None:
        self._schedule = schedule
        self._best = math.inf
        self._waited = 0
        self.factor = 1.0

    def state(self) -> dict[str, float | int]:
        """What `resume` needs to go on as if nothing had happened."""
        return {"best": self._best, "waited": self._waited, "factor": self.factor}

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self._best, self._waited, self.factor = state["best"], state["waited"], state["factor"]

    def observe(self, validation_loss: float) -> None:
        """Take note of an epoch's validation loss."""
        if validation_loss < self._best:
            self._best, self._waited = validation_loss, 0
            return
        self._waited += 1
        if self._waited > self._schedule.patience:
            self.factor *= self._schedule.factor
            self._waited = 0
