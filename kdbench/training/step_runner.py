"""Run the optimizer steps of one batch and add up their losses: all of a run's work on the device for a batch."""

from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from typing import final

import torch
from torch import Tensor

from kdbench.errors import TrainingError
from kdbench.training.method import Batch, Method, Step
from kdbench.training.optimizer import PlayerOptimizer
from kdbench.training.precision import autocast

STEPS = "steps."  # prefix of a player's name in the counts


@final
class StepRunner:
    """Runs the steps of a method and sums its losses on the device, without synchronizing.

    The sums stay in the same tensors from batch to batch.

    Args:
        method: the method.
        optimizers: one per player.
        precision: "fp32", "tf32" or "bf16".
    """

    def __init__(self, method: Method, optimizers: Mapping[str, PlayerOptimizer], precision: str) -> None:
        self.method = method
        self.counts: Counter[str] = Counter()  # the number of values in each sum, and of steps of each player
        self._optimizers = optimizers
        self._precision = precision
        self._device = next(next(iter(method.deployed().values())).parameters()).device.type
        self._sums: dict[str, Tensor] = {}

    def __call__(self, batch: Batch) -> None:
        """Run the steps of one batch.

        Raises:
            TrainingError: a step names an unknown player, or no loss depends on the step's player.
        """
        steps = self.method.steps(batch)
        try:
            while (step := self._next(steps)) is not None:
                self._optimizer(step.player).step(step.losses)
                self._add_losses(step)
                self.counts[STEPS + step.player] += 1
        finally:
            if isinstance(steps, Generator):
                steps.close()

    @property
    def student_steps(self) -> int:
        """The number of steps of the student since the last reset."""
        return self.counts[STEPS + "student"]

    def reset(self) -> None:
        """Set the sums of the losses to zero."""
        self.counts.clear()
        for total in self._sums.values():
            total.zero_()

    def means(self) -> dict[str, float]:
        """Return the mean of every loss term since the last reset; synchronizes with the device."""
        counted = {key: total for key, total in self._sums.items() if self.counts[key]}
        totals = torch.stack(list(counted.values())).tolist() if counted else []
        return {key: total / self.counts[key] for key, total in zip(counted, totals, strict=True)}

    def _next(self, steps: Iterator[Step]) -> Step | None:
        """Return the next step. Autocast is entered for each step: its weight cache is stale after an update."""
        with autocast(self._device, self._precision):
            return next(steps, None)

    def _optimizer(self, player: str) -> PlayerOptimizer:
        if player not in self._optimizers:
            raise TrainingError(f"a step names the player '{player}'; the players are {sorted(self._optimizers)}")
        return self._optimizers[player]

    def _add_losses(self, step: Step) -> None:
        for name, loss in step.losses.items():
            key = f"loss.{name}" if step.player == "student" else f"loss.{step.player}.{name}"
            value = loss.detach().float()
            if key in self._sums:
                self._sums[key].add_(value)
            else:
                self._sums[key] = value.clone()
            self.counts[key] += 1
