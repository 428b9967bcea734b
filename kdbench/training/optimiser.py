"""A player's optimiser: its parameters, its rate, its clipping; one step at a time."""

from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from kdbench.errors import TrainingError
from kdbench.matrix.recipe import Adam, AdamW, Optimizer, Plateau, Recipe, Sgd
from kdbench.training.method import OptimiserSpec
from kdbench.training.schedule import PlateauWatch, cycle_at, rate_factor


def torch_optimiser(optimizer: Optimizer, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """The torch optimiser of a recipe."""
    match optimizer:
        case Sgd():
            return torch.optim.SGD(
                parameters,
                lr=optimizer.lr,
                momentum=optimizer.momentum,
                weight_decay=optimizer.weight_decay,
                nesterov=optimizer.nesterov,
                foreach=True,
            )
        case Adam():
            return torch.optim.Adam(
                parameters, optimizer.lr, optimizer.betas, weight_decay=optimizer.weight_decay, foreach=True
            )
        case AdamW():
            return torch.optim.AdamW(
                parameters, optimizer.lr, optimizer.betas, weight_decay=optimizer.weight_decay, foreach=True
            )


@final
class PlayerOptimiser:
    """Steps one player of a method."""

    def __init__(self, player: nn.Module, recipe: Recipe, spec: OptimiserSpec) -> None:
        self._optimizer = spec.optimizer or recipe.optimizer
        self._schedule = spec.schedule or recipe.schedule
        self._cycles = spec.cycles
        self._epochs = recipe.epochs
        self._clip = spec.clip if spec.clip is not None else recipe.clip
        self._watch = PlateauWatch(self._schedule) if isinstance(self._schedule, Plateau) else None
        self.parameters = [p for p in player.parameters() if p.requires_grad]
        self._torch = torch_optimiser(self._optimizer, self.parameters)

    def rate(self, progress: float) -> float:
        """The learning rate at a share of the run."""
        _, local = cycle_at(progress, self._cycles)
        factor = rate_factor(self._schedule, local, self._epochs / self._cycles)
        return self._optimizer.lr * factor * (self._watch.factor if self._watch else 1.0)

    def step(self, losses: Mapping[str, Tensor], progress: float) -> None:
        """Move this player, and nobody else, down the gradient of the losses' sum.

        Raises:
            TrainingError: no loss depends on the player.
        """
        for parameter, gradient in zip(self.parameters, self._gradients(losses), strict=True):
            parameter.grad = gradient
        if self._clip is not None:
            nn.utils.clip_grad_norm_(self.parameters, self._clip)
        for group in self._torch.param_groups:
            group["lr"] = self.rate(progress)
        self._torch.step()
        self._torch.zero_grad(set_to_none=True)

    def _gradients(self, losses: Mapping[str, Tensor]) -> Sequence[Tensor | None]:
        total = torch.stack([loss.float() for loss in losses.values()]).sum()
        found = torch.autograd.grad(total, self.parameters, allow_unused=True) if total.requires_grad else ()
        if all(gradient is None for gradient in found):
            raise TrainingError(f"no loss of {sorted(losses)} depends on the player that steps")
        return found

    def state(self) -> dict[str, Any]:
        """What `resume` needs: moments of the optimiser, and how far the plateau schedule has come."""
        return {"torch": self._torch.state_dict(), "watch": self._watch.state() if self._watch else None}

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self._torch.load_state_dict(state["torch"])
        if self._watch is not None:
            self._watch.resume(state["watch"])

    def see(self, validation_loss: float) -> None:
        """Tell the plateau schedule how an epoch went."""
        if self._watch is not None:
            self._watch.see(validation_loss)
