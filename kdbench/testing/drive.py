"""Train a method for a few steps as the harness does, and check what its generator yields."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import final

import torch
from torch import Tensor, nn

from kdbench.matrix.recipe import Recipe, Sgd
from kdbench.methods import create
from kdbench.testing.networks import TASK, random_batch, tiny_network, tiny_teacher
from kdbench.testing.requirement import require
from kdbench.training.loop import CohortLoop
from kdbench.training.member import Member
from kdbench.training.method import Batch, Method, Step
from kdbench.training.network import Frozen

PROGRESS = (0.0, 0.1, 0.5, 0.9, 1.0)


@final
@dataclass(frozen=True)
class Subject:
    """The method to check: its name or class, or the names of a sum, and its hyperparameters by name."""

    method: str | type[Method] | Sequence[str]
    parameters: Mapping[str, Mapping[str, object]] = field(default_factory=dict)

    def build(self, teacher: nn.Module | None = None) -> Method:
        """Return the method on new networks, which have the same weights every time."""
        torch.manual_seed(5)
        return create(
            self.method,
            student=tiny_network(1),
            teacher=teacher or tiny_teacher(),
            teachers=[tiny_network(4)],
            peers=[tiny_network(3, (5, 5, 5))],
            task=TASK,
            parameters=self.parameters,
        ).train()


@final
@dataclass(frozen=True)
class Taken:
    """A step that was taken, and the gradients of its player's parameters."""

    step: Step
    gradients: Mapping[nn.Parameter, Tensor]


def drive(method: Method, progress: Sequence[float] = PROGRESS, bf16: bool = False) -> Iterator[Taken]:
    """Train with plain gradient descent on one batch for each share of the run; yield each step after it was taken."""
    players, batch = method.players(), random_batch(method.views)
    for share in progress:
        for module in method.modules():
            if isinstance(module, Frozen):
                module.clear_cache()
        steps = method.steps(replace(batch, progress=share))
        while (step := _next(steps, bf16)) is not None:
            require(step.player in players, f"a step names the player '{step.player}', players() are {list(players)}")
            yield Taken(step, _descend(step, players[step.player]))


def _next(steps: Iterator[Step], bf16: bool) -> Step | None:
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        step = next(steps, None)
        require(torch.is_autocast_enabled("cpu") == bf16, "steps() must not yield inside `with torch.autocast(...)`")
    require(torch.is_grad_enabled(), "steps() must not yield inside `with torch.no_grad()`")
    return step


def _descend(step: Step, player: nn.Module) -> dict[nn.Parameter, Tensor]:
    total = torch.stack([loss.float() for loss in step.losses.values()]).sum()
    require(total.requires_grad, f"the losses {list(step.losses)} must depend on the player '{step.player}'")
    parameters = [p for p in player.parameters() if p.requires_grad]
    found = torch.autograd.grad(total, parameters, allow_unused=True)
    gradients = {p: g for p, g in zip(parameters, found, strict=True) if g is not None}
    with torch.no_grad():
        for parameter, gradient in gradients.items():
            parameter.sub_(gradient, alpha=0.01)
    return gradients


@final
class _Repeated:
    """Epochs of two equal batches."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    def epoch(self, epoch: int, epochs: int) -> Iterator[Batch]:
        for position in range(2):
            yield replace(self._batch, progress=(epoch + position / 2) / epochs)


def recipe(epochs: int, precision: str) -> Recipe:
    """Return a recipe with this number of epochs."""
    return Recipe.model_validate({"epochs": epochs, "precision": precision, "optimizer": Sgd(lr=1e-3)})


def train(
    members: Sequence[Member],
    shared: Sequence[Frozen],
    last: int,
    first: int = 0,
    leaving: Mapping[Member, int] | None = None,
) -> None:
    """Train members side by side from epoch `first` until before epoch `last`, in the loop of the harness.

    Members in `leaving` are dropped from the loop earlier, after that number of epochs.
    """
    epochs = members[0].recipe.epochs
    views = max(member.method.views for member in members)

    def drop(epoch: int, active: Sequence[Member]) -> None:
        loop.drop([member for member in active if epoch + 1 in (last, (leaving or {}).get(member))])

    loop = CohortLoop(members, _Repeated(random_batch(views)), shared, lambda member: {}, drop)
    loop.train(epochs, first)
    for member in members:
        if member.error is not None:
            raise AssertionError(f"steps() must not raise in the training loop, got {member.error!r}") from member.error


def weights(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """Return a copy of all parameters and buffers, by name."""
    return {f"{name}.{key}": t.clone() for name, module in modules.items() for key, t in module.state_dict().items()}
