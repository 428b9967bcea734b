"""Tiny networks, a batch, and every method on them."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from kdbench.methods import METHODS
from kdbench.testing.drive import Subject
from kdbench.testing.networks import TASK, random_batch, tiny_network, tiny_teacher
from kdbench.training.method import Batch, Method, Output, Task
from kdbench.training.network import Network

CONFIGURATIONS = {
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


class Flat(Network):
    """A multi-layer perceptron: one stage without space."""

    def __init__(self) -> None:
        super().__init__(TASK.num_classes, TASK.image_shape)
        self.hidden = nn.Linear(3 * 8 * 8, 10)
        self.head = nn.Linear(10, TASK.num_classes)

    def forward(self, images: Tensor) -> Output:
        preact = self.hidden(images.flatten(1))
        embedding = torch.relu(preact)
        return Output(self.head(embedding), (embedding[..., None, None],), (preact[..., None, None],), embedding)


@pytest.fixture
def tiny() -> Callable[..., Network]:
    """`tiny(seed, widths)`: a network of three stages with the weights of a seed."""
    return tiny_network


@pytest.fixture
def flat() -> Network:
    """A network whose only stage has no height and width."""
    return Flat()


@pytest.fixture
def student() -> Network:
    return tiny_network(1)


@pytest.fixture
def teacher() -> Network:
    return tiny_teacher()


@pytest.fixture
def batch() -> Batch:
    """Eight images of 3x8x8, two of each of four classes."""
    return random_batch()


@pytest.fixture
def task() -> Task:
    return TASK


@pytest.fixture(params=list(CONFIGURATIONS.values()), ids=CONFIGURATIONS)
def parts(request: pytest.FixtureRequest) -> Mapping[str, Mapping[str, Any]]:
    """Every method with its defaults, other configurations, and sums: hyperparameters by method."""
    found: Mapping[str, Mapping[str, Any]] = request.param
    return found


@pytest.fixture
def build() -> Callable[[Mapping[str, Mapping[str, Any]], nn.Module], Method]:
    """`build(parts, teacher)`: the method on new networks, which have the same weights every time."""
    return lambda parts, teacher: Subject(list(parts), parts).build(teacher)
