"""Optimize one player: its parameters, learning rate and gradient clipping."""

from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from kdbench.errors import TrainingError
from kdbench.matrix.recipe import Adam, AdamW, OneCycle, Optimizer, Plateau, Recipe, Schedule, Sgd
from kdbench.training.foreach import ForeachOptimizer
from kdbench.training.method import OptimizerSpec
from kdbench.training.schedule import PlateauFactor, cycle_at, cycled_momentum, lr_factor

GRAPH_DEVICES = {"cuda"}  # the device types on which steps can be captured in a graph


def make_optimizer(optimizer: Optimizer, parameters: list[nn.Parameter]) -> torch.optim.Optimizer | ForeachOptimizer:
    """Return what steps as the optimizer of a recipe says; on a device with graphs, the fused optimizer of torch."""
    if parameters and parameters[0].device.type not in GRAPH_DEVICES:
        return ForeachOptimizer(optimizer, parameters)
    return _make_fused_optimizer(optimizer, parameters)


def _make_fused_optimizer(optimizer: Optimizer, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    """Return the fused optimizer of torch; its learning rate is a tensor, which can change after a capture."""
    device = parameters[0].device if parameters else torch.device("cpu")
    is_cuda = device.type == "cuda"
    lr = torch.tensor(optimizer.lr, device=device)
    decay, fast = optimizer.weight_decay, {"fused": True}
    match optimizer:
        case Sgd(momentum=momentum, nesterov=nesterov):
            sgd = torch.optim.SGD(parameters, lr, momentum, weight_decay=decay, nesterov=nesterov, **fast)
            if momentum:  # the fused one needs a momentum buffer for all parameters or for none
                sgd.state.update({p: {"momentum_buffer": torch.zeros_like(p)} for p in parameters})
            return sgd
        case Adam(betas=betas):
            return torch.optim.Adam(parameters, lr, betas, weight_decay=decay, capturable=is_cuda, **fast)
        case AdamW(betas=betas):
            return torch.optim.AdamW(parameters, lr, betas, weight_decay=decay, capturable=is_cuda, **fast)


@final
class PlayerOptimizer:
    """The optimizer of one player.

    Args:
        player: the module whose parameters train; those that do not require gradients are left out.
        recipe: the run's recipe.
        spec: where the player differs from the recipe.
    """

    def __init__(self, player: nn.Module, recipe: Recipe, spec: OptimizerSpec) -> None:
        self._schedule = spec.schedule or recipe.schedule
        self._optimizer = _with_momentum(spec.optimizer or recipe.optimizer, self._schedule)
        self._cycles = spec.cycles
        self._epochs = recipe.epochs
        self._grad_clip_norm = spec.grad_clip_norm if spec.grad_clip_norm is not None else recipe.grad_clip_norm
        self._plateau = PlateauFactor(self._schedule) if isinstance(self._schedule, Plateau) else None
        self.parameters = [p for p in player.parameters() if p.requires_grad]
        self._steps = make_optimizer(self._optimizer, self.parameters)

    @property
    def cycles_momentum(self) -> bool:
        """Whether the momentum changes from batch to batch."""
        return isinstance(self._schedule, OneCycle) and self._schedule.cycle_momentum

    def lr(self, progress: float, share: float = 0.0) -> float:
        """Return the learning rate of a batch.

        Args:
            progress: the share of the run that is done before the batch, 0 to 1.
            share: the share of the run that the batch is.
        """
        _, local = cycle_at(progress, self._cycles)
        factor = lr_factor(self._schedule, local, self._epochs / self._cycles, share * self._cycles)
        return self._optimizer.lr * factor * (self._plateau.factor if self._plateau else 1.0)

    def momentum(self, progress: float, share: float = 0.0) -> float:
        """Return the momentum (Adam's first beta) of a batch, with the arguments of `lr`."""
        if isinstance(self._schedule, OneCycle) and self._schedule.cycle_momentum:
            _, local = cycle_at(progress, self._cycles)
            return cycled_momentum(self._schedule, local, share * self._cycles)
        return self._optimizer.momentum if isinstance(self._optimizer, Sgd) else self._optimizer.betas[0]

    def set_lr(self, progress: float, share: float = 0.0) -> None:
        """Set the learning rate of the next steps, and the momentum if it cycles, with the arguments of `lr`."""
        for group in self._steps.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(self.lr(progress, share))
            else:
                group["lr"] = self.lr(progress, share)
            if self.cycles_momentum:
                _set_momentum(group, self.momentum(progress, share))

    def step(self, losses: Mapping[str, Tensor]) -> None:
        """Update this player, and no other, along the gradient of the sum of the losses.

        Raises:
            TrainingError: no loss depends on the player.
        """
        for parameter, gradient in zip(self.parameters, self._gradients(losses), strict=True):
            parameter.grad = None if gradient is None else _with_layout_of(gradient, parameter)
        if self._grad_clip_norm is not None:
            for (
                parameter
            ) in self.parameters:  # two parameters may share one gradient tensor, which would be scaled twice
                parameter.grad = None if parameter.grad is None else parameter.grad.clone()
            nn.utils.clip_grad_norm_(self.parameters, self._grad_clip_norm)
        self._steps.step()
        self._steps.zero_grad(set_to_none=True)

    def _gradients(self, losses: Mapping[str, Tensor]) -> Sequence[Tensor | None]:
        total = torch.stack([loss.float() for loss in losses.values()]).sum()
        gradients = torch.autograd.grad(total, self.parameters, allow_unused=True) if total.requires_grad else ()
        if all(gradient is None for gradient in gradients):
            raise TrainingError(
                f"none of the losses {sorted(losses)} depends on the parameters of the step's player; yield "
                "Step(losses, player) with the player that they train"
            )
        return gradients

    def state_dict(self) -> dict[str, Any]:
        """Return the state for `load_state_dict`: that of a torch optimizer and of the plateau schedule."""
        plateau = self._plateau.state_dict() if self._plateau else None
        return {"torch": self._steps.state_dict(), "plateau": plateau}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned, possibly on another device."""
        ours = self._steps.state_dict()  # on another device groups and momentum buffers may differ
        moments = {**ours["state"], **state["torch"]["state"]}
        self._steps.load_state_dict({"state": moments, "param_groups": ours["param_groups"]})
        if self._plateau is not None:
            self._plateau.load_state_dict(state["plateau"])

    def observe(self, is_best: bool) -> None:
        """Update the plateau schedule after an epoch, which is better than all before it or not."""
        if self._plateau is not None:
            self._plateau.observe(is_best)


def _set_momentum(group: dict[str, Any], momentum: float) -> None:
    if "momentum" in group:
        group["momentum"] = momentum
    else:
        group["betas"] = (momentum, group["betas"][1])


def _with_momentum(optimizer: Optimizer, schedule: Schedule) -> Optimizer:
    """Return the optimizer with the first momentum of a schedule that cycles it: SGD without one has no buffers."""
    if isinstance(optimizer, Sgd) and isinstance(schedule, OneCycle) and schedule.cycle_momentum:
        return optimizer.model_copy(update={"momentum": schedule.max_momentum})
    return optimizer


def _with_layout_of(gradient: Tensor, parameter: Tensor) -> Tensor:
    """Return a gradient in the memory layout of its parameter, which fused optimizers need and `backward` produces."""
    strides = zip(parameter.shape, gradient.stride(), parameter.stride(), strict=True)
    if all(size == 1 or ours == theirs for size, ours, theirs in strides):
        return gradient
    return torch.empty_like(parameter).copy_(gradient)
