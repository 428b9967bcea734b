"""A fake queue, and methods with unusual hyperparameters."""

from abc import ABC
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, final

import pytest
from annotated_types import Ge
from torch import Tensor, nn

from kdbench import methods
from kdbench.events import EventHandler, RunDone
from kdbench.hyperparameters import Tune
from kdbench.matrix import RunSpec
from kdbench.matrix.identity import Since
from kdbench.methods.losses import cross_entropy
from kdbench.methods.offline import Offline
from kdbench.plan import Plan
from kdbench.results import Store
from kdbench.training.method import Batch, Output

Score = Callable[[RunSpec], float | None]


class Plain(Offline, ABC):
    """Cross-entropy; the classes below declare hyperparameters."""

    paper = "none"

    def losses(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        return {"ce": cross_entropy(student.logits, batch.labels)}


@final
class Depth(Plain):
    """Two configurations."""

    def __init__(self, student: nn.Module, teacher: nn.Module, *, depth: Annotated[int, Ge(1), Tune(1, 2)] = 1) -> None:
        super().__init__(student, teacher)
        self.depth = depth


@final
class Later(Plain):
    """A hyperparameter whose default is not part of a run's identity."""

    def __init__(
        self, student: nn.Module, teacher: nn.Module, *, rate: Annotated[float, Tune(0.5, 2), Since("0.2")] = 1.0
    ) -> None:
        super().__init__(student, teacher)
        self.rate = rate


@final
class NoDefault(Plain):
    """A required hyperparameter."""

    def __init__(self, student: nn.Module, teacher: nn.Module, *, weight: Annotated[float, Tune(0.5, 2)]) -> None:
        super().__init__(student, teacher)
        self.weight = weight


def score_near_half(spec: RunSpec) -> float | None:
    """Return a score that is highest at alpha 0.5; the offsets of the seeds cancel out."""
    alpha = spec.hyperparameters.get("alpha", spec.hyperparameters.get("vanilla.alpha", 0.5))
    return 0.9 - abs(float(alpha) - 0.5) + (0.01 if spec.seed else -0.01)


@dataclass
class FakeQueue:
    """Replaces `run_plan`: gives a run the score that `score` returns; None fails it."""

    score: Score = score_near_half
    test_score: Callable[[float], float] | None = None
    interrupt: bool = False
    plans: list[Plan] = field(default_factory=list)
    trained: list[RunSpec] = field(default_factory=list)

    def __call__(self, plan: Plan, store: Store, on_event: EventHandler) -> None:
        self.plans.append(plan)
        store.write_index(plan.index())
        if self.interrupt:
            raise KeyboardInterrupt
        for run in plan.runs:
            if store.is_finished(run.id):
                continue
            store.write_spec(run)
            score = self.score(run)
            store.write_result(run.id, self._result(score))
            self.trained.append(run)
            on_event(RunDone(run.id))

    def _result(self, score: float | None) -> dict[str, Any]:
        if score is None:
            return {"status": "failed", "error": "NaN"}
        test = {} if self.test_score is None else {"test_accuracy": self.test_score(score)}
        return {"status": "done", "row": {"val_accuracy": score, **test}}


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> FakeQueue:
    fake = FakeQueue()
    monkeypatch.setattr("kdbench.tuning.study.run_plan", fake)
    return fake


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


@pytest.fixture
def custom_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the methods above by name."""
    for name, method in {"depth": Depth, "later": Later, "no_default": NoDefault}.items():
        monkeypatch.setitem(methods.METHODS, name, method)
