"""Small matrices with results."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import pytest

from kdbench.results.index import ExcludedCell, IncompatibleCell, IndexCell, MatrixIndex, Training

PAIR = ("cifar10", "resnet34", "resnet18")
TRAINING = Training({}, 45_000, 5_000, 50_000, test_images=10_000, steps=1000)


@dataclass
class MatrixBuilder:
    """Builds a matrix: its cells, and the rows of their runs."""

    cells: list[IndexCell] = field(default_factory=list)
    incompatible: list[IncompatibleCell] = field(default_factory=list)
    excluded: list[ExcludedCell] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    validation: float = 0.1
    track_test: bool = False
    trainings: dict[str, Training] = field(default_factory=lambda: {"": TRAINING})
    search_seeds: tuple[int, ...] = ()
    protocol: dict[str, Any] = field(default_factory=dict)
    needed: list[str] = field(default_factory=list)

    def add(
        self,
        label: str,
        test: list[float | str | None],
        val: list[float] | None = None,
        pair: tuple[str, str, str] = PAIR,
        kind: str = "method",
        hyperparameters: Mapping[str, Any] | None = None,
        cell: Mapping[str, Any] | None = None,
        seeds: Sequence[int] | None = None,
        **more: Any,
    ) -> IndexCell:
        """Add a cell with one run per test score: done for a number, pending for None, failed for an error.

        `cell` has further fields of the cell, `more` further columns of its rows.
        """
        configurations = dict(hyperparameters or {})
        key = f"{len(self.cells)}/{label}"
        numbers = range(len(test)) if seeds is None else seeds
        ids = {str(seed): hashlib.sha256(f"{key}/{seed}".encode()).hexdigest()[:16] for seed in numbers}
        teacher = next(
            (c for c in self.cells if (c.label, c.dataset, c.teacher, c.student) == ("teacher", *pair)), None
        )
        teachers = {seed: run for seed in ids for run in (teacher.runs.values() if teacher else ())}
        fields = {"method": label, "teachers": teachers, **(cell or {})}
        made = IndexCell(kind, label, *pair, hyperparameters=configurations, runs=ids, **fields)
        self.cells.append(made)
        for seed, (run, score) in enumerate(zip(ids.values(), test, strict=True)):
            if isinstance(score, str):
                self.rows.append({"run_id": run, "seed": seed, "status": "failed", "error": score})
            elif score is not None:
                chosen = score if val is None else val[seed]
                self.rows.append(_done(run, seed, score, chosen) | more)
        return made

    def add_incompatible(self, label: str, reason: str, pair: tuple[str, str, str] = PAIR) -> None:
        """Add an incompatible cell."""
        self.incompatible.append(IncompatibleCell(label, *pair, reason=reason, runs=3))

    @property
    def index(self) -> MatrixIndex:
        return MatrixIndex(
            name="thesis",
            file="matrices/thesis.toml",
            digest="0",
            validation=self.validation,
            track_test=self.track_test,
            cells=tuple(self.cells),
            incompatible=tuple(self.incompatible),
            excluded=tuple(self.excluded),
            trainings=self.trainings,
            needed=tuple(self.needed),
            search_seeds=self.search_seeds,
            **self.protocol,
        )

    @property
    def frame(self) -> pd.DataFrame:
        return pd.DataFrame(self.rows)


def _done(run: str, seed: int, test: float, val: float) -> dict[str, Any]:
    scores = {f"test_{metric}": test - lower for metric, lower in (("accuracy", 0), ("f1", 0.01), ("precision", 0.02))}
    return {
        "run_id": run,
        "seed": seed,
        "status": "done",
        "error": None,
        "val_accuracy": val,
        **scores,
        "test_recall": test - 0.03,
        "test_accuracy_best": test + 0.001,
        "val_accuracy_best": val + 0.002,
        "inference_ms": 0.5,
        "inference_ms_p95": 0.75,
        "parameters": 2_260_000,
        "flops": 81_000_000,
        "train_seconds": 12.34,
        "device": "NVIDIA H200",
        "torch_version": "2.15.0",
        "processor": "NVIDIA H200",
        "threads": 1,
        "precision": "bf16",
        "timing_processor": "AMD EPYC",
        "timing_device": "NVIDIA H200",
        "timing_torch_version": "2.15.0",
        "timing_threads": 1,
        "timing_precision": "fp32",
    }


@pytest.fixture
def builder() -> MatrixBuilder:
    """An empty matrix."""
    return MatrixBuilder()


@pytest.fixture
def thesis() -> Callable[..., MatrixBuilder]:
    """A matrix with three seeds, a sweep, and failed, pending and incompatible cells."""

    def make(pairs: tuple[tuple[str, str, str], ...] = (PAIR,), **configurations: Any) -> MatrixBuilder:
        made = MatrixBuilder(**configurations)
        for index, pair in enumerate(pairs):
            low = 0.1 * index
            made.add("teacher", [0.95 - low], kind="teacher", pair=pair)
            made.add("scratch", [0.90 - low, 0.91 - low, 0.92 - low], kind="scratch", pair=pair)
            for alpha, gain, val in ((0.1, 0.005, 0.80), (0.9, 0.02, 0.85)):
                test = [0.90 + gain - low, 0.911 + gain - low, 0.922 + gain - low]
                made.add("vanilla", test, [val] * 3, pair, hyperparameters={"alpha": alpha, "temperature": 4.0})
            made.add("dkd", [0.922 - low, 0.93 - low, 0.945 - low], [0.84] * 3, pair, hyperparameters={"beta": 8.0})
            made.add("half", [0.89 - low, None, "CUDA error: x_y\nTraceback"], pair=pair)
            made.add("broken", ["epoch 3: loss.ce became NaN or infinite"] * 3, pair=pair)
            made.add("later", [None] * 3, pair=pair)
            made.add_incompatible("fsp", "fsp needs stages of equal height | width", pair)
        return made

    return make


@pytest.fixture
def searched() -> MatrixBuilder:
    """A matrix with two search seeds: two configurations of vanilla were tried, the second one is reported."""
    made = MatrixBuilder(search_seeds=(100, 101), protocol={"seeds": (0, 1)})
    made.add("teacher", [0.95], kind="teacher")
    made.add("scratch", [0.69, 0.71], kind="scratch")
    for alpha, val in ((0.1, 0.8), (0.9, 0.85)):
        search: dict[str, Any] = {"cell": {"phase": "search"}, "seeds": (100, 101)}
        made.add("vanilla", [0.99, 0.98], [val] * 2, hyperparameters={"alpha": alpha}, **search)
    made.add("vanilla", [0.75, 0.77], [0.5] * 2, hyperparameters={"alpha": 0.9})
    return made
