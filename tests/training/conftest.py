"""A tiny network with dropout, a method with two players, and batches that depend on epoch and position only."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbench.matrix.recipe import Recipe
from kdbench.training.cuda_graphs import GraphRecorder
from kdbench.training.member import Member
from kdbench.training.method import Batch, Method, Output, Step
from kdbench.training.network import Frozen, Network

CLASSES, SHAPE = 3, (2, 3, 3)


class Tiny(Network):
    """Convolution, batch norm, dropout, linear."""

    def __init__(self) -> None:
        super().__init__(CLASSES, SHAPE)
        self.conv = nn.Conv2d(2, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(4, CLASSES)

    def forward(self, images: Tensor) -> Output:
        preact = self.norm(self.conv(images))
        embedding = self.drop(preact.relu().mean(dim=(2, 3)))
        return Output(self.head(embedding), (preact.relu(),), (preact,), embedding)


class TwoPlayers(Method):
    """Cross-entropy, a term with the teacher, and a second player; `change_loss` may change a batch's cross-entropy."""

    paper = "none"

    def __init__(self, student: nn.Module, teacher: Frozen, change_loss: Callable[[Batch, Tensor], Tensor]) -> None:
        super().__init__()
        self.student, self.teacher, self.change_loss = student, teacher, change_loss
        self.scale = nn.Linear(1, 1)
        self.modes: list[bool] = []

    def steps(self, batch: Batch) -> Iterator[Step]:
        self.modes.append(self.student.training)
        logits = self.student(batch.images).logits.float()
        ce = self.change_loss(batch, F.cross_entropy(logits, batch.labels))
        yield Step({"ce": ce, "hint": F.mse_loss(logits, self.teacher(batch.images).logits.float())})
        noise = torch.rand(1, 1, device=batch.images.device)
        yield Step({"size": self.scale(noise).square().sum()}, "scale")

    def players(self) -> dict[str, nn.Module]:
        return {"student": self.student, "scale": self.scale}

    def deployed(self) -> dict[str, nn.Module]:
        return {"student": self.student}


class TinyBatches:
    """Four batches of six images an epoch."""

    def epoch(self, epoch: int, epochs: int) -> Iterator[Batch]:
        for position in range(4):
            generator = torch.Generator().manual_seed(1000 * epoch + position)
            images = torch.randn(6, *SHAPE, generator=generator)
            yield Batch(images, torch.arange(6) % CLASSES, torch.arange(6), (epoch + position / 4) / epochs, (images,))


@pytest.fixture
def batches() -> TinyBatches:
    return TinyBatches()


@pytest.fixture
def batch() -> Batch:
    """The first batch of a run of one epoch."""
    return next(TinyBatches().epoch(0, 1))


@pytest.fixture
def tiny() -> Callable[[int], Network]:
    """`tiny(seed)`: a network whose weights depend on the seed only."""

    def make(seed: int) -> Network:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return Tiny()

    return make


@pytest.fixture
def member(tiny: Callable[[int], Network]) -> Callable[..., Member]:
    """`member(name, teacher, change_loss, seed, recorder, **recipe)`: a run that depends on its arguments only."""

    def make(
        name: str = "run",
        teacher: Frozen | None = None,
        change_loss: Callable[[Batch, Tensor], Tensor] = lambda batch, loss: loss,
        seed: int = 7,
        recorder: GraphRecorder | None = None,
        **recipe: Any,
    ) -> Member:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            method = TwoPlayers(tiny(seed), teacher or Frozen(tiny(99)), change_loss)
        method.cuda_graph_safe = recorder is not None
        return Member(name, method, Recipe(**{"epochs": 3, "precision": "fp32", **recipe}), seed, recorder)

    return make
