"""Learning-rate schedules as functions of progress: they advance once a batch, however often a player steps."""

import math
from bisect import bisect_right
from collections.abc import Mapping
from typing import Any, final

from kdbench.matrix.recipe import Constant, Cosine, MultiStep, OneCycle, Plateau, Schedule


def lr_factor(schedule: Schedule, progress: float, epochs: float, share: float = 0.0) -> float:
    """Return the factor of the recipe's learning rate.

    Batch i of a warm-up of n batches has the factor (i + 1) / n, so that no batch has a learning rate of 0.

    Args:
        schedule: the schedule; its warm-up and milestones are in epochs.
        progress: the finished fraction of the run (or of the cycle), 0 to 1.
        epochs: the length of the run (or of the cycle).
        share: the fraction of the run (or of the cycle) that one batch is.
    """
    done = progress * epochs
    warm = min((progress + share) * epochs / schedule.warmup, 1.0) if schedule.warmup else 1.0
    match schedule:
        case Constant() | Plateau():
            return warm
        case MultiStep():
            return warm * schedule.gamma ** bisect_right(sorted(schedule.milestones), done + 1e-9)
        case Cosine():
            return warm * (schedule.min_lr_ratio + (1 - schedule.min_lr_ratio) * _cosine(progress))
        case OneCycle():
            return warm * _one_cycle(schedule, progress, share)


def cycle_at(progress: float, cycles: int) -> tuple[int, float]:
    """Return the current one of `cycles` equal parts of the run, counted from 0, and its finished fraction."""
    done = progress * cycles
    number = min(int(done + 1e-9), cycles - 1)  # 15 / 22 * 22 is slightly below 15
    return number, max(done - number, 0.0)


def _cosine(progress: float) -> float:
    """Return half a cosine wave, falling from 1 to 0."""
    return (1 + math.cos(math.pi * min(progress, 1.0))) / 2


def cycled_momentum(schedule: OneCycle, progress: float, share: float) -> float:
    """Return the momentum of a one-cycle schedule: `base_momentum` where the learning rate is highest.

    Args:
        schedule: the schedule.
        progress: the finished fraction of the run (or of the cycle), 0 to 1.
        share: the fraction of the run (or of the cycle) that one batch is.
    """
    rise = _rise(schedule, progress, share)
    return schedule.max_momentum + (schedule.base_momentum - schedule.max_momentum) * rise


def _one_cycle(schedule: OneCycle, progress: float, share: float) -> float:
    """Return the factor of torch's `OneCycleLR`: the first batch has `1 / div_factor`, the last one the lowest."""
    factor = 1 / schedule.div_factor
    low = factor if _is_rising(schedule, progress, share) else factor / schedule.final_div_factor
    return low + (1 - low) * _rise(schedule, progress, share)


def _rise(schedule: OneCycle, progress: float, share: float) -> float:
    """Return how far the learning rate has risen: 1 in the last batch of the first `pct_start`, 0 at both ends."""
    peak = schedule.pct_start - share
    if _is_rising(schedule, progress, share):
        return 1 - _cosine(progress / peak)
    return _cosine((progress - peak) / (1 - schedule.pct_start))


def _is_rising(schedule: OneCycle, progress: float, share: float) -> bool:
    return progress < schedule.pct_start - share


@final
class PlateauFactor:
    """The factor of the `plateau` schedule: lowered after more than `patience` epochs without a new best epoch."""

    def __init__(self, schedule: Plateau) -> None:
        self._schedule = schedule
        self._bad_epochs = 0
        self.factor = 1.0

    def state_dict(self) -> dict[str, float | int]:
        """Return the state for `load_state_dict`."""
        return {"bad_epochs": self._bad_epochs, "factor": self.factor}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._bad_epochs, self.factor = state["bad_epochs"], state["factor"]

    def observe(self, is_best: bool) -> None:
        """Update the factor after an epoch, which is better than all before it or not."""
        self._bad_epochs = 0 if is_best else self._bad_epochs + 1
        if self._bad_epochs > self._schedule.patience:
            self.factor *= self._schedule.factor
            self._bad_epochs = 0
