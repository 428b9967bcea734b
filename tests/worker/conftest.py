"""Small matrices on digits, and cohorts trained in this process."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from kdbench.matrix import RunSpec, parse
from kdbench.models.cnn import Convolution
from kdbench.plan import Plan, make_plan
from kdbench.results import Store
from kdbench.training import stopwatch
from kdbench.worker import teacher_cache
from kdbench.worker.cohort import CohortWorker
from kdbench.worker.options import Options

CPU = torch.device("cpu")
RECIPE = {"epochs": 2, "batch_size": 50, "precision": "fp32", "train_samples": 100}


@pytest.fixture(scope="session")
def plan_of() -> Callable[..., Plan]:
    """`plan_of(methods, recipe, protocol, pair)`: plan a matrix on digits with one pair."""

    def make(
        methods: Mapping[str, Any],
        recipe: Mapping[str, Any] | None = None,
        protocol: Mapping[str, Any] | None = None,
        pair: tuple[str, str] = ("mlp_12", "mlp_8"),
    ) -> Plan:
        raw = {
            "name": "small",
            "datasets": ["digits"],
            "pairs": [dict(zip(("teacher", "student"), pair, strict=True))],
            "recipe": {**RECIPE, **(recipe or {})},
            "protocol": protocol or {},
            "methods": methods,
        }
        return make_plan(parse(raw, "small.toml"))

    return make


@pytest.fixture(scope="session")
def train() -> Callable[..., list[Mapping[str, Any]]]:
    """`train(store, *specs, **options)`: train one cohort and return its events."""

    def run(store: Store, *specs: RunSpec, **options: Any) -> list[Mapping[str, Any]]:
        events: list[Mapping[str, Any]] = []
        CohortWorker(specs, store, CPU, events.append, Options(**options)).train()
        return events

    return run


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


@pytest.fixture
def stop_clock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], None]:
    """`stop_clock()`: from now on every forward pass of a teacher cnn_4_8 takes 1 s, and nothing else takes time."""
    clock, forward = SimpleNamespace(now=0.0), Convolution.forward

    def timed(network: Convolution, images: torch.Tensor) -> torch.Tensor:
        clock.now += 0.5  # the teacher has two of these
        return forward(network, images)

    def stop() -> None:
        monkeypatch.setattr(teacher_cache, "cache_folder", lambda: tmp_path / "cache")
        monkeypatch.setattr(stopwatch, "time", SimpleNamespace(perf_counter=lambda: clock.now))
        monkeypatch.setattr(Convolution, "forward", timed)

    return stop
