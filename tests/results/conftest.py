"""A results folder in miniature: runs of every state, without torch."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kdbench.matrix import DataSpec, NetworkSpec, Part, RunSpec, Split
from kdbench.matrix.recipe import Recipe
from kdbench.results import IndexCell, MatrixIndex, Store

TEACHER = RunSpec(
    DataSpec("digits", "digits", {}, "f00d"), NetworkSpec("large"), (Part("scratch"),), Recipe(), Split(), seed=0
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty results folder."""
    return Store(tmp_path / "results")


@pytest.fixture
def teacher() -> RunSpec:
    """A run that needs no other."""
    return TEACHER


@pytest.fixture
def student() -> Callable[..., RunSpec]:
    """A run of a method, with a teacher."""

    def make(seed: int = 0, method: str = "vanilla", **hyperparameters: Any) -> RunSpec:
        part = Part(method, hyperparameters)
        return replace(TEACHER, student=NetworkSpec("small"), parts=(part,), seed=seed, needs=(("teacher", TEACHER),))

    return make


@pytest.fixture
def index() -> Callable[..., MatrixIndex]:
    """What a matrix asked for: one cell a run."""

    def make(*runs: RunSpec, name: str = "thesis", label: str = "HKD") -> MatrixIndex:
        cells = tuple(
            IndexCell("method", label, "digits", "large", "small", r.method, r.hyperparameters, {str(r.seed): r.id})
            for r in runs
        )
        return MatrixIndex(name, f"matrices/{name}.toml", "0123", 0.1, False, cells)

    return make
