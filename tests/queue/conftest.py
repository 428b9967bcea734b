"""Specs and items without a plan, and a results folder."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kdbench.matrix import DataSpec, NetworkSpec, Part, RunSpec, Split
from kdbench.matrix.recipe import Recipe
from kdbench.queue.grouping import QueuedRun
from kdbench.results import Store


@pytest.fixture(scope="session")
def item() -> Callable[..., QueuedRun]:
    """`item(name, batches, teacher, epoch)`: a run whose hyperparameter is its name, taught by another's."""

    def make(name: str, batches: str = "b", teacher: QueuedRun | None = None, epoch: int = 0) -> QueuedRun:
        needs = (("teacher", teacher.spec),) if teacher else ()
        parts = (Part("vanilla" if teacher else "scratch", {"name": name}),)
        network = NetworkSpec("mlp_8")
        spec = RunSpec(DataSpec("digits", "digits"), network, parts, Recipe(), Split(), 0, needs)
        return QueuedRun(spec, batches, epoch)

    return make


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


@pytest.fixture(scope="session")
def has_gone() -> Callable[[int], bool]:
    """Whether a process is no more, or is soon."""

    def gone(pid: int) -> bool:
        until = time.monotonic() + 5
        while time.monotonic() < until:
            try:
                state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            except FileNotFoundError:
                return True
            if state in "ZX":  # it has ended, and nobody asked how
                return True
            time.sleep(0.02)
        return False

    return gone
