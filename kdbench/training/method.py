"""The contract between the harness and a distillation method.

The harness owns how to optimize (precision, clipping, schedules, accounting: the same for every method); a method owns
who trains, on what loss, and when. So a method is a generator of optimizer steps.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

from torch import Tensor, nn

from kdbench.matrix.recipe import Optimizer, Schedule
from kdbench.matrix.spec import RunSpec
from kdbench.training.network import Output, Shapes

__all__ = ["Batch", "Method", "OptimizerSpec", "Output", "Shapes", "Step", "Task"]


@final
@dataclass(frozen=True, eq=False)
class Batch:
    """What the harness hands to a method. A method never writes into its tensors."""

    images: Tensor  # (B, C, H, W) float
    labels: Tensor  # (B,) int64
    indices: Tensor  # (B,) place in the training set, for memory banks
    progress: float  # share of the run that is done, 0 to 1
    views: tuple[Tensor, ...] = ()  # independent augmentations; views[0] is images


@final
@dataclass(frozen=True, eq=False)
class Step:
    """One optimizer step: `player` minimizes the sum of `losses`, each a scalar tensor."""

    losses: Mapping[str, Tensor]
    player: str = "student"


@final
@dataclass(frozen=True)
class Task:
    """What a method may know of the data set before it sees a batch."""

    num_classes: int
    train_size: int
    image_shape: tuple[int, int, int]  # (C, H, W)
    batch_size: int = 64


@final
@dataclass(frozen=True)
class OptimizerSpec:
    """Where a player departs from the recipe; what is None is the recipe's.

    `cycles` runs the schedule that many times from start to end over the run (warm restarts). `grad_clip_norm` bounds the
    gradient's Euclidean norm.
    """

    optimizer: Optimizer | None = None
    schedule: Schedule | None = None
    cycles: int = 1
    grad_clip_norm: float | None = None


class Method(nn.Module, ABC):
    """A distillation method.

    Its constructor is its declaration: positional arguments are roles (`student`, `teacher`, `teachers`, `peers`,
    `task`), keyword-only arguments are hyperparameters with their type, bounds, default and search range.
    """

    views: ClassVar[int] = 1  # independent augmentations per image
    data: ClassVar[Literal["train", "record", "none"]] = "train"  # the last two open no training image
    cuda_graph_safe: bool = (
        False  # whether the steps of all batches are the same work on the device, whatever `progress`
    )
    version: ClassVar[int] = 1  # raised when the numbers of a method change; part of a run's identity
    paper: ClassVar[str]  # authors, venue, arXiv id

    @abstractmethod
    def steps(self, batch: Batch) -> Iterator[Step]:
        """Yield the optimizer steps of one batch; code after a yield sees the updated weights.

        Autocast is entered anew for every step. Nothing that runs through a player that has moved may be reused, and
        no `with` block may be open across a yield.
        """

    @abstractmethod
    def players(self) -> dict[str, nn.Module]:
        """Who trains. Players share no parameter; one is called "student"."""

    @abstractmethod
    def deployed(self) -> dict[str, nn.Module]:
        """The networks to evaluate, save and report, as deployed; the first is the run's own row."""

    def optimizers(self) -> dict[str, OptimizerSpec]:
        """The players whose optimizer, schedule or restarts differ from the recipe."""
        return {}

    @classmethod
    def incompatible(cls, student: Shapes, teacher: Shapes | None, task: Task, **hyperparameters: Any) -> str | None:
        """Why the method cannot run on this pair, or None."""
        return None

    @classmethod
    def needs(cls, spec: RunSpec) -> dict[str, RunSpec]:
        """Runs that must finish first, by the role they fill.

        The pair's own teacher is handed over without being named here. A list of networks is filled in order by the
        keys `teachers.0`, `teachers.1`, ...
        """
        return {}
