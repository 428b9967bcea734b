"""Specs and items without a plan, and a results folder."""

from collections.abc import Callable
from pathlib import Path

import pytest

from kdbench.matrix import DataSpec, NetworkSpec, Part, RunSpec, Split
from kdbench.matrix.recipe import Recipe
from kdbench.queue.cohorts import Item
from kdbench.results import Store


@pytest.fixture(scope="session")
def item() -> Callable[..., Item]:
    """`item(name, batches, teacher)`: a run whose hyperparameter is its name, taught by the run of another item."""

    def make(name: str, batches: str = "b", teacher: Item | None = None) -> Item:
        needs = (("teacher", teacher.spec),) if teacher else ()
        parts = (Part("vanilla" if teacher else "scratch", {"name": name}),)
        network = NetworkSpec("mlp_8")
        return Item(RunSpec(DataSpec("digits", "digits"), network, parts, Recipe(), Split(), 0, needs), batches)

    return make


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")
