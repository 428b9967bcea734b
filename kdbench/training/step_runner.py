"""The optimizer steps of one batch, and the sizes of their losses: all that a run does on its device for a batch."""

from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from typing import final

import torch
from torch import Tensor

from kdbench.errors import TrainingError
from kdbench.training.method import Batch, Method, Step
from kdbench.training.optimizer import PlayerOptimizer
from kdbench.training.precision import autocast


@final
class StepRunner:
    """Makes the steps of a method, and adds up its losses where they are, so that nothing waits for the device.

    From one call to the next the sums stay the same tensors.
    """

    def __init__(self, method: Method, optimizers: Mapping[str, PlayerOptimizer], precision: str) -> None:
        self.method = method
        self.counts: Counter[str] = Counter()  # how often each loss was added
        self._optimizers = optimizers
        self._precision = precision
        self._network = next(iter(method.deployed().values()))
        self._sums: dict[str, Tensor] = {}

    def __call__(self, batch: Batch) -> None:
        """Make the steps of one batch."""
        steps = self.method.steps(batch)
        try:
            while (step := self._next(steps)) is not None:
                self._optimizer(step.player).step(step.losses)
                self._account(step)
        finally:
            if isinstance(steps, Generator):
                steps.close()

    def start_over(self) -> None:
        """Begin new sums."""
        self.counts.clear()
        for total in self._sums.values():
            total.zero_()

    def means(self) -> dict[str, float]:
        """The mean size of every loss term since the last start; waits for the device."""
        counted = {key: total for key, total in self._sums.items() if self.counts[key]}
        totals = torch.stack(list(counted.values())).tolist() if counted else []
        return {key: total / self.counts[key] for key, total in zip(counted, totals, strict=True)}

    def _next(self, steps: Iterator[Step]) -> Step | None:
        """The next step, with autocast entered anew: a cast cache must not outlive the weights it was made from."""
        with autocast(self._network, self._precision):
            return next(steps, None)

    def _optimizer(self, player: str) -> PlayerOptimizer:
        if player not in self._optimizers:
            raise TrainingError(f"a step names the player '{player}'; the method has {sorted(self._optimizers)}")
        return self._optimizers[player]

    def _account(self, step: Step) -> None:
        for name, loss in step.losses.items():
            key = f"loss.{name}" if step.player == "student" else f"loss.{step.player}.{name}"
            value = loss.detach().float()
            if key in self._sums:
                self._sums[key].add_(value)
            else:
                self._sums[key] = value.clone()
            self.counts[key] += 1
