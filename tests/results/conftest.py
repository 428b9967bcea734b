"""A results folder in miniature: runs of every state, without torch."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from kdbench.matrix import DataSpec, NetworkSpec, Part, RunSpec, Split
from kdbench.matrix.recipe import Recipe
from kdbench.results import IndexCell, MatrixIndex, Store
from kdbench.results.integrity import checksums
from kdbench.results.predictions import Predictions, write_predictions

TEACHER = RunSpec(
    DataSpec("digits", "digits", {}, "f00d"), NetworkSpec("large"), (Part("scratch"),), Recipe(), Split(), seed=0
)

PREDICTIONS = Predictions.from_logits(np.array([[0.0, 2.0], [1.0, 1.0]]), np.array([1, 0]))


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
    """The index of a matrix with one cell per run."""

    def make(*runs: RunSpec, name: str = "thesis", label: str = "HKD") -> MatrixIndex:
        cells = tuple(
            IndexCell("method", label, "digits", "large", "small", r.method, r.hyperparameters, {str(r.seed): r.id})
            for r in runs
        )
        return MatrixIndex(name, f"matrices/{name}.toml", "0123", 0.1, False, cells)

    return make


@pytest.fixture
def finished() -> Callable[..., None]:
    """Let a run be done, with files as a worker leaves them."""

    def make(store: Store, run: RunSpec, **row: Any) -> None:
        folder = store.folder(run.id)
        store.write_spec(run)
        save_file({"student.w": np.arange(6, dtype=np.float32)}, folder / "weights.safetensors")
        pq.write_table(pa.table({"epoch": [0], "val_nll": [0.5]}), folder / "history.parquet")
        write_predictions(store, run.id, {"student": PREDICTIONS})
        row = {"val_accuracy": 0.5, "test_accuracy": 0.5, **row}
        store.write_result(run.id, {"status": "done", "row": row, "files": checksums(folder)})

    return make
