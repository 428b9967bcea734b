"""The contract between the harness and a distillation method.

The harness owns how to optimize (precision, clipping, schedules, accounting), which is the same for every method. A
method owns what trains, on which loss, and when: it is a generator of optimizer steps.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

from torch import Tensor, nn

from kdbench.errors import MethodError
from kdbench.matrix.recipe import Optimizer, Schedule
from kdbench.matrix.spec import RunSpec
from kdbench.training.network import Output, Shapes

__all__ = ["Batch", "Method", "OptimizerSpec", "Output", "Shapes", "Step", "Task"]


@final
@dataclass(frozen=True, eq=False)
class Batch:
    """One training batch. A method never writes to its tensors."""

    images: Tensor  # (B, C, H, W) float
    labels: Tensor  # (B,) int64
    indices: Tensor  # (B,) position in the training set, for memory banks
    progress: float  # share of the run that is done, 0 to 1
    views: tuple[Tensor, ...] = ()  # independent augmentations; views[0] is images
    share: float = 0.0  # share of the run that this batch is: 1 / number of batches


@final
@dataclass(frozen=True, eq=False)
class Step:
    """One optimizer step: `player` minimizes the sum of `losses`, each a scalar tensor.

    Raises:
        MethodError: `losses` is not a mapping from names to scalar tensors.
    """

    losses: Mapping[str, Tensor]
    player: str = "student"

    def __post_init__(self) -> None:
        if not isinstance(self.losses, Mapping):
            raise MethodError(
                'losses must be a dict from names to scalar tensors, such as {"ce": loss}, '
                f"got {type(self.losses).__name__}"
            )
        for name, loss in self.losses.items():
            if not isinstance(loss, Tensor) or loss.dim():
                found = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
                raise MethodError(f"the loss '{name}' must be a scalar tensor, got {found}")


@final
@dataclass(frozen=True)
class Task:
    """The properties of a run that a method may depend on before it gets a batch."""

    num_classes: int
    train_size: int
    image_shape: tuple[int, int, int]  # (C, H, W)
    batch_size: int = 64


@final
@dataclass(frozen=True)
class OptimizerSpec:
    """How the training of a player differs from the recipe; a field that is None follows the recipe.

    `cycles` is the number of times that the schedule runs from start to end (warm restarts). `grad_clip_norm` bounds
    the Euclidean norm of the gradient.
    """

    optimizer: Optimizer | None = None
    schedule: Schedule | None = None
    cycles: int = 1
    grad_clip_norm: float | None = None


class Method(nn.Module, ABC):
    """A distillation method. Subclass `kdbench.Offline` where one student learns from one fixed teacher.

    The constructor is the declaration. Positional arguments are roles: `student`, `teacher`, `teachers`, `peers`,
    `task`. Keyword-only arguments are hyperparameters, each with its type, bounds, default and search range:

        temperature: Annotated[float, Gt(0), Tune(1, 20, log=True)] = 4.0

    A hyperparameter that is active only in a mode declares it by `When`, and one whose default depends on another
    hyperparameter by `DefaultBy`:

        mode: Literal["joint", "two_stage"] = "joint",
        hint_weight: Annotated[float, Gt(0), When(mode="two_stage")] = 1.0,

    If it is not active it may not be given, and `kdbench.methods.create` leaves it out of the call, so that the
    constructor sees the default in the signature and must ignore it.

    A method keeps its student as the attribute `student`, and frozen networks as `Frozen.of(network)`.
    """

    views: ClassVar[int] = 1  # independent augmentations per image
    data: ClassVar[Literal["train", "record", "none"]] = "train"  # the last two read no training image
    cuda_graph_safe: bool = False  # whether every batch takes the same steps and operations, whatever its `progress`
    calibrated: ClassVar[bool] = True  # False: the losses leave the scale of the logits free; NLL and ECE are blank
    version: ClassVar[int] = 1  # raised when the numbers of a method change; part of a run's identity
    paper: ClassVar[str]  # "Author, Author, Venue Year, arXiv:id"
    student: nn.Module

    @abstractmethod
    def steps(self, batch: Batch) -> Iterator[Step]:
        """Yield the optimizer steps of one batch; code after a yield sees the updated weights.

        The loop enters autocast for each step separately. After a yield, recompute every tensor that depends on the
        player that stepped, and leave no `with` block open across a yield.
        """

    def players(self) -> dict[str, nn.Module]:
        """Return the modules that train, by name; one is called "student", and no two share a parameter.

        Default: the player "student", which is the student with all modules that the method adds and that have
        parameters to train. Frozen networks are not among them.
        """
        return {"student": nn.ModuleList(module for module in self.children() if _is_trainable(module))}

    def deployed(self) -> dict[str, nn.Module]:
        """Return the networks to evaluate, save and report, by name; the first one is the run's row in the results.

        Default: the student alone, without the modules that the method adds.
        """
        return {"student": self.student}

    def optimizers(self) -> dict[str, OptimizerSpec]:
        """Return how the training of some players differs from the recipe. Default: none does."""
        return {}

    @classmethod
    def incompatible(cls, student: Shapes, teacher: Shapes | None, task: Task, **hyperparameters: Any) -> str | None:
        """Return why the method is incompatible with a pair of networks, or None. Default: None for every pair."""
        return None

    @classmethod
    def needs(cls, spec: RunSpec) -> dict[str, RunSpec]:
        """Return the runs that must finish first, by the role that each fills. Default: none.

        The pair's own teacher fills the role `teacher` without being listed. The keys of a list of networks are
        `teachers.0`, `teachers.1`, ...
        """
        return {}


def _is_trainable(module: nn.Module) -> bool:
    return any(parameter.requires_grad for parameter in module.parameters())
