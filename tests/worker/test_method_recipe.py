"""Every method that trains otherwise than the recipe says so in its result."""

from collections.abc import Callable
from typing import Any

import pytest

from kdbench import methods, models
from kdbench.results import Store
from kdbench.training.method import Task
from kdbench.worker.method_recipe import describe_method_recipe

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
