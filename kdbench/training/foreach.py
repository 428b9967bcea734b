"""Torch's optimizer steps on the CPU, without `torch.optim.Optimizer`.

That class imports torch's compiler, which takes as long as the import of torch itself, and its bookkeeping is a third
of an optimizer step of a small network.
"""

from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.optim.adam import adam
from torch.optim.adamw import adamw
from torch.optim.sgd import sgd

from kdbench.matrix.recipe import Adam, Optimizer, Sgd

EPS = 1e-8  # torch's default for Adam

State = dict[str, Any]  # the moments of a parameter


@final
class ForeachOptimizer:
    """Updates parameters on the CPU in one call, with the numbers and the state of `torch.optim`.

    Args:
        optimizer: the optimizer of a recipe.
        parameters: what it updates.
    """

    def __init__(self, optimizer: Optimizer, parameters: Sequence[nn.Parameter]) -> None:
        self._optimizer = optimizer
        self._parameters = parameters
        self._states: dict[int, State] = {}  # by the index of the parameter
        self._group: dict[str, Any] = {"lr": optimizer.lr, "params": list(range(len(parameters)))}
        if isinstance(optimizer, Sgd):
            self._group["momentum"] = optimizer.momentum
        else:
            self._group["betas"] = optimizer.betas

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The group of all parameters; its `lr`, and its `momentum` or `betas`, may be changed."""
        return [self._group]

    @torch.no_grad()
    def step(self) -> None:
        """Update the parameters that have a gradient."""
        found = [(index, p, p.grad) for index, p in enumerate(self._parameters) if p.grad is not None]
        parameters: list[Tensor] = [p for _, p, _ in found]
        gradients = [gradient for _, _, gradient in found]
        states = [self._states.setdefault(index, {}) for index, _, _ in found]
        if isinstance(self._optimizer, Sgd):
            self._step_sgd(self._optimizer, parameters, gradients, states)
        else:
            self._step_adam(parameters, gradients, states)

    def _step_sgd(
        self, optimizer: Sgd, parameters: list[Tensor], gradients: list[Tensor], states: Sequence[State]
    ) -> None:
        momentum = self._group["momentum"]
        buffers: list[Tensor | None] = [state.get("momentum_buffer") for state in states]
        sgd(
            parameters,
            gradients,
            buffers,
            foreach=True,
            lr=self._group["lr"],
            weight_decay=optimizer.weight_decay,
            momentum=momentum,
            dampening=0.0,
            nesterov=optimizer.nesterov,
            maximize=False,
        )
        for state, buffer in zip(states, buffers, strict=True):
            state |= {"momentum_buffer": buffer} if momentum else {}  # the first step creates it

    def _step_adam(self, parameters: list[Tensor], gradients: list[Tensor], states: Sequence[State]) -> None:
        for parameter, state in zip(parameters, states, strict=True):
            if not state:
                state |= {"step": torch.tensor(0.0), "exp_avg": torch.zeros_like(parameter)}
                state["exp_avg_sq"] = torch.zeros_like(parameter)
        beta1, beta2 = self._group["betas"]
        (adam if isinstance(self._optimizer, Adam) else adamw)(
            parameters,
            gradients,
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["step"] for state in states],
            foreach=True,
            lr=self._group["lr"],
            weight_decay=self._optimizer.weight_decay,
            beta1=beta1,
            beta2=beta2,
            eps=EPS,
            amsgrad=False,
            maximize=False,
        )

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients, as `torch.optim.Optimizer` does by default."""
        assert set_to_none
        for parameter in self._parameters:
            parameter.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Return the state in the form of `torch.optim.Optimizer.state_dict`, which either class loads."""
        return {
            "state": {index: dict(state) for index, state in self._states.items()},
            "param_groups": [dict(self._group)],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the moments of a state that may come from another device."""
        self._states = {
            index: {name: _on_cpu(value, self._parameters[index], name) for name, value in moments.items()}
            for index, moments in state["state"].items()
        }


def _on_cpu(value: Tensor | None, parameter: Tensor, name: str) -> Tensor | None:
    """Return a copy of a moment in the precision and layout of its parameter, or of its number of steps."""
    if value is None or name == "step":
        return None if value is None else value.detach().to("cpu", copy=True)
    return torch.empty_like(parameter).copy_(value)
