"""Tiny networks, one batch, and every method on them, shared by the tests of all methods."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kdbench.methods import METHODS, create
from kdbench.training.method import Batch, Method, Output, Task
from kdbench.training.network import Network

CLASSES, SHAPE, SIZE = 4, (3, 8, 8), 8
SETTINGS = {
    **{name: {name: {}} for name in METHODS},
    "scratch, smoothed": {"scratch": {"label_smoothing": 0.1}},
    "fitnets, two stages": {"fitnets": {"mode": "two_stage"}},
    "fitnets, final layer": {"fitnets": {"layer": "final"}},
    "attention, paper": {"attention": {"variant": "paper"}},
    "spherical, standardized": {"spherical": {"normalize": "standardize"}},
    "earth_mover, moved": {"earth_mover": {"mass": "moved"}},
    "nuclear_norm, beta": {"nuclear_norm": {"beta": 0.05}},
    "triplet, hard": {"triplet": {"negatives": "hard"}},
    "triplet, paper": {"triplet": {"on": "logits", "squared": False, "margin": 5.0, "weight": 2.0}},
    "born_again, third": {"born_again": {"generations": 3}},
    "snapshot, two cycles": {"snapshot": {"cycles": 2}},
    "vanilla + rkd_v3": {"vanilla": {}, "rkd_v3": {"alpha": 0.5}},
    "triplet + vanilla + rkd_da": {"triplet": {}, "vanilla": {}, "rkd_da": {}},
    "fitnets + attention + rkd_da": {"fitnets": {}, "attention": {}, "rkd_da": {}},
}


class Tiny(Network):
    """Three stages of one convolution each, 8x8, 4x4 and 2x2 pixels."""

    def __init__(self, widths: tuple[int, int, int]) -> None:
        super().__init__(CLASSES, SHAPE)
        self.stem = nn.Conv2d(SHAPE[0], widths[0], 3, padding=1)
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(before, after, 3, padding=1, stride=1 if place == 0 else 2, bias=False),
                nn.BatchNorm2d(after),
            )
            for place, (before, after) in enumerate(zip((widths[0], *widths), widths, strict=False))
        )
        self.head = nn.Linear(widths[-1], CLASSES)

    def forward(self, images: Tensor) -> Output:
        features, stages, preacts = self.stem(images), [], []
        for stage in self.stages:
            preacts.append(stage(features))
            features = torch.relu(preacts[-1])
            stages.append(features)
        embedding = features.mean(dim=(2, 3))
        return Output(self.head(embedding), tuple(stages), tuple(preacts), embedding)


class Flat(Network):
    """A multi-layer perceptron: one stage without space."""

    def __init__(self) -> None:
        super().__init__(CLASSES, SHAPE)
        self.hidden = nn.Linear(3 * 8 * 8, 10)
        self.head = nn.Linear(10, CLASSES)

    def forward(self, images: Tensor) -> Output:
        preact = self.hidden(images.flatten(1))
        embedding = torch.relu(preact)
        return Output(self.head(embedding), (embedding[..., None, None],), (preact[..., None, None],), embedding)


@pytest.fixture
def tiny() -> Callable[..., Network]:
    """`tiny(seed, widths)`: a network of three stages, the same one for the same seed."""

    def make(seed: int, widths: tuple[int, int, int] = (4, 6, 8)) -> Network:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return Tiny(widths)

    return make


@pytest.fixture
def flat() -> Network:
    """A network whose only stage has no space."""
    return Flat()


@pytest.fixture
def student(tiny: Callable[..., Network]) -> Network:
    return tiny(1)


@pytest.fixture
def teacher(tiny: Callable[..., Network]) -> Network:
    return tiny(2, (6, 8, 12))


@pytest.fixture
def batch() -> Batch:
    """Eight images of 3x8x8, two of each of four classes."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(SIZE, *SHAPE, generator=generator)
    return Batch(images, torch.arange(SIZE) % CLASSES, torch.arange(SIZE), progress=0.5, views=(images,))


@pytest.fixture
def task() -> Task:
    return Task(num_classes=CLASSES, train_size=64, image_shape=SHAPE, batch_size=SIZE)


@pytest.fixture(params=list(SETTINGS.values()), ids=SETTINGS)
def parts(request: pytest.FixtureRequest) -> Mapping[str, Mapping[str, Any]]:
    """Every method with its defaults, in turn, then some in other ways, and some sums: hyperparameters by method."""
    found: Mapping[str, Mapping[str, Any]] = request.param
    return found


@pytest.fixture
def build(tiny: Callable[..., Network], task: Task) -> Callable[[Mapping[str, Mapping[str, Any]], nn.Module], Method]:
    """`build(parts, teacher)`: the method on fresh networks, the same ones every time."""

    def make(parts: Mapping[str, Mapping[str, Any]], teacher: nn.Module) -> Method:
        torch.manual_seed(5)
        networks = {"student": tiny(1), "teacher": teacher, "teachers": [tiny(4)], "peers": [tiny(3, (5, 5, 5))]}
        return create(list(parts), **networks, task=task, parameters=parts).train()

    return make
