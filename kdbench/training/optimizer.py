"""A player's optimizer: its parameters, its rate, its clipping; one step at a time."""

from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from kdbench.errors import TrainingError
from kdbench.matrix.recipe import Adam, AdamW, Optimizer, Plateau, Recipe, Sgd
from kdbench.training.method import OptimizerSpec
from kdbench.training.schedule import PlateauWatch, cycle_at, lr_factor

RECORDING = {"cuda"}  # the types of devices on which steps can be recorded


def torch_optimizer(optimizer: Optimizer, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """The torch optimizer of a recipe; where steps are recorded one whose rate is a tensor, which can be written to."""
    device = parameters[0].device if parameters else torch.device("cpu")
    records, on_gpu = device.type in RECORDING, device.type == "cuda"
    lr = torch.tensor(optimizer.lr, device=device) if records else optimizer.lr
    decay, fast = optimizer.weight_decay, {"fused" if records else "foreach": True}
    match optimizer:
        case Sgd(momentum=momentum, nesterov=nesterov):
            sgd = torch.optim.SGD(parameters, lr, momentum, weight_decay=decay, nesterov=nesterov, **fast)
            if records and momentum:  # the fused one cannot begin with some parameters now and with others later
                sgd.state.update({p: {"momentum_buffer": torch.zeros_like(p)} for p in parameters})
            return sgd
        case Adam(betas=betas):
            return torch.optim.Adam(parameters, lr, betas, weight_decay=decay, capturable=on_gpu, **fast)
        case AdamW(betas=betas):
            return torch.optim.AdamW(parameters, lr, betas, weight_decay=decay, capturable=on_gpu, **fast)


@final
class PlayerOptimizer:
    """Steps one player of a method."""

    def __init__(self, player: nn.Module, recipe: Recipe, spec: OptimizerSpec) -> None:
        self._optimizer = spec.optimizer or recipe.optimizer
        self._schedule = spec.schedule or recipe.schedule
        self._cycles = spec.cycles
        self._epochs = recipe.epochs
        self._grad_clip_norm = spec.grad_clip_norm if spec.grad_clip_norm is not None else recipe.grad_clip_norm
        self._watch = PlateauWatch(self._schedule) if isinstance(self._schedule, Plateau) else None
        self.parameters = [p for p in player.parameters() if p.requires_grad]
        self._torch = torch_optimizer(self._optimizer, self.parameters)

    def lr(self, progress: float) -> float:
        """The learning rate at a share of the run."""
        _, local = cycle_at(progress, self._cycles)
        factor = lr_factor(self._schedule, local, self._epochs / self._cycles)
        return self._optimizer.lr * factor * (self._watch.factor if self._watch else 1.0)

    def set_lr(self, progress: float) -> None:
        """Set the rate of the steps to come to that of a share of the run."""
        for group in self._torch.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(self.lr(progress))
            else:
                group["lr"] = self.lr(progress)

    def step(self, losses: Mapping[str, Tensor]) -> None:
        """Move this player, and nobody else, down the gradient of the losses' sum.

        Raises:
            TrainingError: no loss depends on the player.
        """
        for parameter, gradient in zip(self.parameters, self._gradients(losses), strict=True):
            parameter.grad = None if gradient is None else _laid_out_as(gradient, parameter)
        if self._grad_clip_norm is not None:
            for parameter in self.parameters:  # two that are added up have one gradient, which would be scaled twice
                parameter.grad = None if parameter.grad is None else parameter.grad.clone()
            nn.utils.clip_grad_norm_(self.parameters, self._grad_clip_norm)
        self._torch.step()
        self._torch.zero_grad(set_to_none=True)

    def _gradients(self, losses: Mapping[str, Tensor]) -> Sequence[Tensor | None]:
        total = torch.stack([loss.float() for loss in losses.values()]).sum()
        found = torch.autograd.grad(total, self.parameters, allow_unused=True) if total.requires_grad else ()
        if all(gradient is None for gradient in found):
            raise TrainingError(f"no loss of {sorted(losses)} depends on the player that steps")
        return found

    def state(self) -> dict[str, Any]:
        """What `resume` needs: moments of the optimizer, and how far the plateau schedule has come."""
        return {"torch": self._torch.state_dict(), "watch": self._watch.state() if self._watch else None}

    def resume(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        ours = self._torch.state_dict()  # on another device groups and first moments may differ
        moments = {**ours["state"], **state["torch"]["state"]}
        self._torch.load_state_dict({"state": moments, "param_groups": ours["param_groups"]})
        if self._watch is not None:
            self._watch.resume(state["watch"])

    def observe(self, validation_loss: float) -> None:
        """Tell the plateau schedule how an epoch went."""
        if self._watch is not None:
            self._watch.observe(validation_loss)


def _laid_out_as(gradient: Tensor, parameter: Tensor) -> Tensor:
    """A gradient in the memory layout of its parameter, as fused optimizers need it and `backward` would give it."""
    strides = zip(parameter.shape, gradient.stride(), parameter.stride(), strict=True)
    if all(size == 1 or ours == theirs for size, ours, theirs in strides):
        return gradient
    return torch.empty_like(parameter).copy_(gradient)
