from collections.abc import Callable
from typing import Any

import pytest

from kdbench.errors import MatrixError
from kdbench.matrix import Expansion

Expand = Callable[..., Expansion]


def override(change: dict[str, Any], **when: str) -> dict[str, Any]:
    return {"override": [{"when": when, "set": change}]}


SGD = {"optimizer": {"name": "sgd", "momentum": 0.5}}
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"datasets": ["digist"]}, "datasets: data set 'digist' is of no known kind; did you mean 'digits'?"),
    (
        {"datasets": ["land"], "dataset": {"land": {"kind": "folder"}}},
        "dataset.land: data set 'land' is of no known kind; valid: digits, letters",
    ),
    (
        {"pairs": [{"teacher": "lage", "student": "small"}]},
        "pairs: there is no network 'lage'; did you mean 'large'?",
    ),
    (
        {"pairs": [{"teacher": "large", "student": "small", "peers": ["tinny"]}], "methods": {"mutual": {}}},
        "pairs: there is no network 'tinny'; did you mean 'tiny'?",
    ),
    ({"methods": {"vanila": {}}}, "methods.vanila: unknown method 'vanila'; did you mean 'vanilla'?"),
    ({"methods": {"vanila": {"a": [1]}}}, "methods.vanila: unknown method 'vanila'; did you mean 'vanilla'?"),
    ({"methods": {"x": {"method": "tripled"}}}, "methods.x: unknown method 'tripled'; did you mean 'triplet'?"),
    (
        {"methods": {"vanilla": {"alpa": 1}}},
        "methods.vanilla: 'vanilla' has no hyperparameter 'alpa'; did you mean 'alpha'?",
    ),
    ({"methods": {"vanilla": {"alpha": [0.1, "x"]}}}, "methods.vanilla: alpha must be like 0.9, got 'x'"),
    ({"methods": {"layers": {"at": 1}}}, "methods.layers: at must be like [1, 2], got 1"),
    (
        {"methods": {"vanilla": {"alpha": []}}},
        "methods.vanilla.alpha: must have at least 1 value, got []; give a value or remove the key",
    ),
    ({"recipe": {"epoch": 1}}, "recipe.epoch: unknown key; did you mean 'epochs'?"),
    ({"recipe": {"epoch": 1, "teacher": {"epochs": 3}}}, "recipe.epoch: unknown key; did you mean 'epochs'?"),
    ({"recipe": {"teacher": {"epoch": 1}}}, "recipe.teacher.epoch: unknown key; did you mean 'epochs'?"),
    ({"recipe": {"student": {"epoch": 1}}}, "recipe.student.epoch: unknown key; did you mean 'epochs'?"),
    ({"recipe": {"teacher": 3}}, "recipe.teacher: must be a table, got 3"),
    ({"recipe": {"student": [1]}}, "recipe.student: must be a table, got [1]"),
    (
        {"recipe": {"student": {"student": {"epochs": 1}}}},
        "recipe.student.student: unknown key; valid: augment, batch_size, early_stopping, epochs, grad_clip_norm, "
        "monitor, optimizer, precision, schedule, steps_per_epoch, strong_augment, train_samples",
    ),
    (
        {"recipe": SGD, **override({"recipe": {"optimizer": {"betas": [0.1, 0.2]}}}, dataset="digits")},
        "override[0].set.recipe.optimizer.betas: unknown key; valid: lr, momentum, name, nesterov, weight_decay",
    ),
    (
        override({"recipe": {"teacher": {"epochs": -1}}}, dataset="digits"),
        "override[0].set.recipe.teacher.epochs: must be greater than or equal to 0, got -1",
    ),
    (
        override({"recipe": {"student": "x"}}, dataset="digits"),
        "override[0].set.recipe.student: must be a table, got 'x'",
    ),
    (
        {"methods": {"vanilla": {}}, **override({"methods": {"vanila": {}}})},
        "override[0].set.methods.vanila: unknown label; did you mean 'vanilla'?",
    ),
    (
        {"methods": {"vanilla": {}}, **override({"methods": {"vanilla": 3}})},
        "override[0].set.methods.vanilla: must be a table, got 3",
    ),
    (
        {"methods": {"vanilla": {}}, **override({"methods": {"vanilla": {"alpa": 1}}})},
        "methods.vanilla: 'vanilla' has no hyperparameter 'alpa'; did you mean 'alpha'?",
    ),
]


@pytest.mark.parametrize(("tables", "message"), WRONG, ids=[message for _, message in WRONG])
def test_one_clear_error(expanded: Expand, tables: dict[str, Any], message: str) -> None:
    with pytest.raises(MatrixError) as caught:
        expanded(**tables)
    assert str(caught.value) == f"m.toml: {message}"


@pytest.mark.parametrize(
    ("recipe", "key"),
    [
        ({"schedule": "plateau"}, "recipe.teacher.schedule"),
        ({"early_stopping": {}}, "recipe.teacher.early_stopping"),
        ({"student": {"schedule": "plateau"}}, "recipe.student.schedule"),
        ({"monitor": "accuracy"}, "recipe.teacher.monitor"),
        ({"student": {"monitor": "loss"}}, "recipe.student.monitor"),
        ({"student": {"early_stopping": {"patience": 3}}}, "recipe.student.early_stopping"),
    ],
)
def test_keys_that_need_validation_are_refused_without_it(expanded: Expand, recipe: dict[str, Any], key: str) -> None:
    assert len(expanded(recipe=recipe).cells) == 2
    with pytest.raises(MatrixError) as caught:
        expanded(recipe=recipe, protocol={"validation": 0})
    remedy = "set it to a fraction of the training images, such as 0.1"
    assert str(caught.value) == f"m.toml: {key}: needs validation images, but protocol.validation is 0; {remedy}"


def test_an_override_may_disable_keys_that_need_validation(expanded: Expand) -> None:
    found = expanded(
        recipe={"schedule": "plateau"}, protocol={"validation": 0}, **override({"recipe": {"schedule": "cosine"}})
    )
    assert {cell.runs[0].recipe.schedule.name for cell in found.cells} == {"cosine"}
