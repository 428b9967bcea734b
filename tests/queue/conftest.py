"""Queued runs without a plan, and a results folder."""

from collections.abc import Callable
from pathlib import Path

import pytest

from kdbench.matrix import DataSpec, NetworkSpec, Part, RunSpec, Split
from kdbench.matrix.recipe import Recipe
from kdbench.queue.costs import EpochWork
from kdbench.queue.queued_run import QueuedRun
from kdbench.results import Store


@pytest.fixture(scope="session")
def queued() -> Callable[..., QueuedRun]:
    """`queued(name, batches, teacher, epoch)`: a run with its name as a hyperparameter."""

    def make(name: str, batches: str = "b", teacher: QueuedRun | None = None, epoch: int = 0) -> QueuedRun:
        needs = (("teacher", teacher.spec),) if teacher else ()
        parts = (Part("vanilla" if teacher else "scratch", {"name": name}),)
        network = NetworkSpec("mlp_8")
        spec = RunSpec(DataSpec("digits", "digits"), network, parts, Recipe(), Split(), 0, needs)
        return QueuedRun(spec, batches, EpochWork(own=3e10, shared=1e10 if teacher else 0.0), epoch)

    return make


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")
