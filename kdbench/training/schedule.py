"""Learning-rate schedules as functions of progress, so that players may step at different rates."""

import math
from bisect import bisect_right
from collections.abc import Mapping
from typing import Any, final

from kdbench.matrix.recipe import Constant, Cosine, MultiStep, OneCycle, Plateau, Schedule


def lr_factor(schedule: Schedule, progress: float, epochs: float) -> float:
    """Return the factor of the recipe's learning rate.

    Args:
        schedule: the schedule; its warm-up and milestones are in epochs.
        progress: the finished fraction of the run (or of the cycle), 0 to 1.
        epochs: the length of the run (or of the cycle).
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
    """Return the current one of `cycles` equal parts of the run, counted from 0, and its finished fraction."""
    done = round(progress * cycles, 9)  # 15 / 22 * 22 is slightly below 15
    number = min(int(done), cycles - 1)
    return number, done - number


def _cosine(progress: float) -> float:
    """Return half a cosine wave, falling from 1 to 0."""
    return (1 + math.cos(math.pi * min(progress, 1.0))) / 2


def _one_cycle(schedule: OneCycle, progress: float) -> float:
    if progress < schedule.pct_start:
        low = 1 / schedule.div_factor
        return 1 - (1 - low) * _cosine(progress / schedule.pct_start)
    low = 1 / (schedule.div_factor * schedule.final_div_factor)
    return low + (1 - low) * _cosine((progress - schedule.pct_start) / (1 - schedule.pct_start))


@final
class PlateauFactor:
    """The factor of the `plateau` schedule: lowered when the validation loss has not improved for `patience` epochs."""

    def __init__(self, schedule: Plateau) -> None:
        self._schedule = schedule
        self._best = math.inf
        self._bad_epochs = 0
        self.factor = 1.0

    def state_dict(self) -> dict[str, float | int]:
        """Return the state for `load_state_dict`."""
        return {"best": self._best, "bad_epochs": self._bad_epochs, "factor": self.factor}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._best, self._bad_epochs, self.factor = state["best"], state["bad_epochs"], state["factor"]

    def observe(self, validation_loss: float) -> None:
        """Update the factor after an epoch with this validation loss."""
        if validation_loss < self._best:
            self._best, self._bad_epochs = validation_loss, 0
            return
        self._bad_epochs += 1
        if self._bad_epochs > self._schedule.patience:
            self.factor *= self._schedule.factor
            self._bad_epochs = 0
