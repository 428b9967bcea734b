"""Every method that trains otherwise than the recipe says so in its result."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from kdbench import methods, models
from kdbench.events import EpochEnded
from kdbench.results import Store
from kdbench.training.method import Task
from kdbench.worker.cohort import CohortWorker
from kdbench.worker.method_recipe import describe_method_recipe
from kdbench.worker.options import Options

TASK = Task(num_classes=3, train_size=64, image_shape=(3, 8, 8), batch_size=8)


def network() -> Any:
    return models.build("cnn_4_8", num_classes=3, image_shape=(3, 8, 8))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("scratch", None),
        ("vanilla", None),
        ("snapshot", "student: schedule cosine, 4 cycles"),
        ("dml", "also trains peer1"),
        (
            "zskt",
            "also trains generator; generator: adam with lr = 0.001, schedule cosine, gradient norm at most 5; "
            "student: adam with lr = 0.002, schedule cosine, gradient norm at most 5",
        ),
    ],
)
def test_what_differs_from_the_recipe(name: str, text: str | None) -> None:
    method = methods.create(
        [name], student=network(), teacher=network(), teachers=[], peers=[network()], task=TASK, parameters={name: {}}
    )
    assert describe_method_recipe(method) == text


def test_it_is_in_the_result(plan_of: Callable[..., Any], train: Callable[..., list[Any]], store: Store) -> None:
    plan = plan_of({"snapshot": {}, "scratch": {}}, {"epochs": 4})
    runs = [run for run in plan.runs if run.student.name == "mlp_8"]
    train(store, *runs)
    results = {run.method: store.result(run.id) for run in runs}
    texts = {method: result and result["row"]["method_recipe"] for method, result in results.items()}
    assert texts == {"scratch": None, "snapshot": "student: schedule cosine, 4 cycles"}


def test_the_steps_of_the_student_are_counted(
    plan_of: Callable[..., Any], train: Callable[..., list[Any]], store: Store
) -> None:
    """zskt takes 10 steps of the student per batch; 2 epochs have 2 batches each."""
    plan = plan_of({"zskt": {}, "dml": {}})
    train(store, *(run for run in plan.runs if run.stream == "teacher"))
    for run in plan.runs:
        if run.stream == "student":
            train(store, run)
    counts = {run.method: (store.result(run.id) or {})["row"] for run in plan.runs if run.stream == "student"}
    assert {method: (row["steps"], row["student_steps"]) for method, row in counts.items()} == {
        "scratch": (4, 4),
        "zskt": (4, 40),
        "dml": (4, 4),
    }


def test_the_steps_of_a_resumed_run_are_all_counted(
    plan_of: Callable[..., Any], train: Callable[..., list[Any]], store: Store
) -> None:
    (run, *_) = (run for run in plan_of({}, {"epochs": 3}).runs if run.stream == "student")

    def stop(event: Any) -> None:
        if isinstance(event, EpochEnded) and event.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        CohortWorker([run], store, torch.device("cpu"), stop, Options(checkpoint_minutes=0)).train()
    train(store, run, checkpoint_minutes=0)
    result = store.result(run.id)
    assert result is not None
    assert (result["row"]["steps"], result["row"]["student_steps"]) == (6, 6)
