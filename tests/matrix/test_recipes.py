"""Recipes of roles and labels, and sweeps of their values."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from kdbench.errors import MatrixError
from kdbench.matrix import Cell, Expansion

Expand = Callable[..., Expansion]
LR = "recipe.optimizer.lr"


def of(expansion: Expansion, label: str) -> list[Cell]:
    return [cell for cell in expansion.cells if cell.label == label]


def swept(expansion: Expansion, label: str) -> list[Mapping[str, Any]]:
    return [cell.swept for cell in of(expansion, label)]


def rates(expansion: Expansion, label: str) -> list[float]:
    return [cell.first.recipe.optimizer.lr for cell in of(expansion, label)]


def test_a_swept_value_of_the_students_gives_scratch_and_every_label_as_many_cells(expanded: Expand) -> None:
    recipe = {"optimizer": {"name": "sgd", "lr": 0.3}, "student": {"optimizer": {"name": "sgd", "lr": [0.1, 0.2]}}}
    found = expanded(recipe=recipe, methods={"vanilla": {"alpha": [0.5, 0.9]}, "mutual": {}})
    assert rates(found, "teacher") == [0.3]
    assert [cell.kind for cell in of(found, "scratch")] == ["scratch", "scratch"]
    assert rates(found, "scratch") == rates(found, "mutual") == [0.1, 0.2]
    assert swept(found, "scratch") == swept(found, "mutual") == [{LR: 0.1}, {LR: 0.2}]
    vanilla = [(cell.swept[LR], cell.first.hyperparameters["alpha"]) for cell in of(found, "vanilla")]
    assert vanilla == [(0.1, 0.5), (0.1, 0.9), (0.2, 0.5), (0.2, 0.9)]
    assert len({cell.first.id for cell in found.cells}) == len(found.cells) == 1 + 2 + 2 + 4


def test_a_swept_value_for_all_with_one_for_the_teacher(expanded: Expand) -> None:
    recipe = {"optimizer": {"name": "sgd", "lr": [0.1, 0.2]}, "teacher": {"optimizer": {"name": "sgd", "lr": 0.3}}}
    found = expanded(recipe=recipe, methods={"vanilla": {}})
    assert (rates(found, "teacher"), rates(found, "vanilla")) == ([0.3], [0.1, 0.2])


@pytest.mark.parametrize(
    ("recipe", "values"),
    [
        ({"optimizer": {"name": "sgd", "lr": [0.1, 0.2]}}, "[0.1, 0.2]"),
        ({"teacher": {"optimizer": {"name": "sgd", "lr": [0.1, 0.2]}}}, "[0.1, 0.2]"),
        (
            {
                "optimizer": {"name": "sgd", "lr": [0.1, 0.2], "momentum": [0.8, 0.9]},
                "zip": [["optimizer.lr", "optimizer.momentum"]],
                "teacher": {"optimizer": {"momentum": 0.9}},
            },
            "[0.1, 0.2]",
        ),
    ],
    ids=["recipe", "recipe.teacher", "with a zip"],
)
def test_a_swept_value_of_the_teacher_is_refused(expanded: Expand, recipe: dict[str, Any], values: str) -> None:
    with pytest.raises(MatrixError) as caught:
        expanded(recipe=recipe)
    expected = f"the teacher needs one value, got {values}; set recipe.teacher.optimizer.lr to one value"
    assert str(caught.value) == f"m.toml: recipe.optimizer.lr: {expected}"


def test_a_list_of_one_value_is_that_value(expanded: Expand) -> None:
    found = expanded(recipe={"optimizer": {"name": "sgd", "lr": [0.3]}}, methods={"vanilla": {}})
    assert [cell.first.recipe.optimizer.lr for cell in found.cells] == [0.3, 0.3, 0.3]
    assert all(cell.swept == {} for cell in found.cells)


def test_the_recipe_of_a_label_refines_that_of_its_students(expanded: Expand) -> None:
    methods = {
        "HKD": {"method": "vanilla", "recipe": {"epochs": 7, "optimizer": {"name": "sgd", "lr": [0.1, 0.2]}}},
        "vanilla": {},
    }
    found = expanded(recipe={"epochs": 9, "student": {"epochs": 8}}, methods=methods)
    epochs = [(cell.label, cell.first.recipe.epochs) for cell in found.cells]
    assert epochs == [("teacher", 9), ("scratch", 8), ("HKD", 7), ("HKD", 7), ("vanilla", 8)]
    assert swept(found, "HKD") == [{LR: 0.1}, {LR: 0.2}]
    assert swept(found, "vanilla") == swept(found, "scratch") == [{}]
    teachers = [one.teacher.recipe.epochs for cell in found.cells for one in cell.runs.values() if one.teacher]
    assert teachers == [9, 9, 9]


def test_overrides_sweep_and_fix_values(expanded: Expand) -> None:
    found = expanded(
        datasets=["digits", "letters"],
        recipe={"student": {"optimizer": {"name": "sgd", "lr": [0.1, 0.2]}}},
        methods={"vanilla": {}, "triplet": {}},
        override=[
            {"when": {"dataset": "letters"}, "set": {"recipe": {"student": {"optimizer": {"name": "sgd", "lr": 0.3}}}}},
            {"when": {"method": "triplet"}, "set": {"recipe": {"student": {"optimizer": {"momentum": [0.7, 0.8]}}}}},
            {"when": {"dataset": "letters"}, "set": {"methods": {"vanilla": {"recipe": {"epochs": [5, 6]}}}}},
        ],
    )
    counts = {(cell.dataset.name, cell.label): 0 for cell in found.cells}
    for cell in found.cells:
        counts[cell.dataset.name, cell.label] += 1
    assert counts == {
        **{("digits", label): n for label, n in {"teacher": 1, "scratch": 2, "vanilla": 2, "triplet": 4}.items()},
        **{("letters", label): n for label, n in {"teacher": 1, "scratch": 1, "vanilla": 2, "triplet": 2}.items()},
    }
    assert swept(found, "vanilla")[2:] == [{"recipe.epochs": 5}, {"recipe.epochs": 6}]
    assert rates(found, "vanilla")[2:] == [0.3, 0.3]


def test_lists_by_type_are_swept_by_lists_of_lists(expanded: Expand) -> None:
    found = expanded(recipe={"student": {"augment": [["flip"], ["flip", "crop"], []]}})
    names = [[one.name for one in cell.first.recipe.augment] for cell in of(found, "scratch")]
    assert names == [["flip"], ["flip", "crop"], []]
    assert swept(found, "scratch")[1] == {"recipe.augment": ["flip", "crop"]}


def test_zip_of_recipe_values(expanded: Expand) -> None:
    student = {
        "optimizer": {"name": "sgd", "lr": [0.1, 0.2]},
        "batch_size": [8, 16],
        "zip": [["optimizer.lr", "batch_size"]],
    }
    found = expanded(recipe={"student": student}, methods={"vanilla": {"alpha": [0.5, 0.9]}})
    pairs = [{LR: 0.1, "recipe.batch_size": 8}, {LR: 0.2, "recipe.batch_size": 16}]
    assert swept(found, "scratch") == pairs
    assert swept(found, "vanilla") == [pairs[0], pairs[0], pairs[1], pairs[1]]


def test_zip_of_a_hyperparameter_with_a_recipe_value(expanded: Expand) -> None:
    table = {"alpha": [0.5, 0.9], "recipe": {"optimizer": {"name": "sgd", "lr": [0.1, 0.2]}}, "zip": [["alpha", LR]]}
    sums = {"vanilla.alpha": [0.5, 0.9], "zip": [["vanilla.alpha", LR]], "recipe": table["recipe"]}
    sums["vanilla"] = {"alpha": sums.pop("vanilla.alpha")}
    found = expanded(methods={"vanilla": table, "vanilla + triplet": sums})
    for label, key in ("vanilla", "alpha"), ("vanilla + triplet", "vanilla.alpha"):
        assert [(c.first.hyperparameters[key], c.swept[LR]) for c in of(found, label)] == [(0.5, 0.1), (0.9, 0.2)]


def test_scratch_with_a_recipe_of_its_own_is_a_label(expanded: Expand) -> None:
    recipe = {"student": {"epochs": [4, 5]}}
    found = expanded(recipe=recipe, methods={"scratch": {"recipe": {"epochs": [4, 6]}}})
    cells = [(cell.kind, cell.label, cell.first.recipe.epochs) for cell in found.cells[1:]]
    assert cells == [("scratch", "scratch", 4), ("scratch", "scratch", 5), ("method", "scratch", 6)]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an empty sweep": (
        {"recipe": {"student": {"optimizer": {"name": "sgd", "lr": []}}}},
        "recipe.student.optimizer.lr: must have at least 1 value, got []; give a value or remove the key",
    ),
    "an empty sweep of a label": (
        {"methods": {"vanilla": {"recipe": {"epochs": []}}}},
        "methods.vanilla.recipe.epochs: must have at least 1 value, got []; give a value or remove the key",
    ),
    "an empty sweep of an override": (
        {"override": [{"when": {}, "set": {"recipe": {"student": {"epochs": []}}}}]},
        "override[0].set.recipe.student.epochs: must have at least 1 value, got []; give a value or remove the key",
    ),
    "a repeated value": (
        {"recipe": {"student": {"optimizer": {"name": "sgd", "lr": [0.1, 0.2, 0.1]}}}},
        "recipe.optimizer.lr: must not repeat a value, got 0.1 twice",
    ),
    "an equal integer": (
        {"recipe": {"student": {"optimizer": {"name": "sgd", "lr": [1, 1.0]}}}},
        "recipe.optimizer.lr: must not repeat a value, got 1.0 twice",
    ),
    "two names of one precision": (
        {"recipe": {"student": {"precision": ["auto", "fp32"]}}},
        "recipe: {'recipe.precision': 'auto'} and {'recipe.precision': 'fp32'} give the same recipe; remove one",
    ),
    "an invalid value": (
        {"recipe": {"student": {"optimizer": {"name": "sgd", "lr": [0.1, -1.0]}}}},
        "recipe.student.optimizer.lr: must be greater than 0, got -1.0",
    ),
    "an invalid value of a label": (
        {"methods": {"vanilla": {"recipe": {"epochs": [1, "2"]}}}},
        "methods.vanilla.recipe.epochs: must be a valid integer, got '2'",
    ),
    "an invalid value of a label's override": (
        {
            "methods": {"vanilla": {}},
            "override": [{"when": {}, "set": {"methods": {"vanilla": {"recipe": {"epochs": "2"}}}}}],
        },
        "override[0].set.methods.vanilla.recipe.epochs: must be a valid integer, got '2'",
    ),
    "a key that only some names have": (
        {"recipe": {"student": {"optimizer": {"name": ["sgd", "adam"], "momentum": 0.9}}}},
        "recipe.student.optimizer.momentum: unknown key",
    ),
    "a list of tables": (
        {"recipe": {"student": {"optimizer": ["sgd", "adam"]}}},
        "recipe.student.optimizer: must be a table or a name, got ['sgd', 'adam']",
    ),
    "a teacher of a label": (
        {"methods": {"vanilla": {"recipe": {"teacher": {"epochs": 3}}}}},
        "methods.vanilla.recipe.teacher: unknown key",
    ),
    "a recipe that is no table": (
        {"methods": {"vanilla": {"recipe": "fast"}}},
        "methods.vanilla.recipe: must be a table, got 'fast'",
    ),
    "a zip of unequal lengths": (
        {"recipe": {"student": {"epochs": [1, 2], "batch_size": [1, 2, 3], "zip": [["epochs", "batch_size"]]}}},
        "recipe.zip: keys of a group must have lists of equal length; epochs has 2, batch_size has 3",
    ),
    "a zip of a key that is not swept": (
        {"recipe": {"student": {"epochs": [1, 2], "batch_size": 3, "zip": [["epochs", "batch_size"]]}}},
        "recipe.zip: unknown key 'batch_size'; valid: epochs",
    ),
    "a zip of a label with an unknown key": (
        {"methods": {"vanilla": {"alpha": [0.1, 0.2], "zip": [["alpha", LR]]}}},
        f"methods.vanilla.zip: unknown key '{LR}'; valid: alpha",
    ),
    "a key in two zips": (
        {
            "recipe": {"student": {"epochs": [1, 2], "batch_size": [3, 4], "zip": [["epochs", "batch_size"]]}},
            "methods": {"vanilla": {"alpha": [0.1, 0.2], "zip": [["alpha", "recipe.epochs"]]}},
        },
        "methods.vanilla.zip: must not repeat a key, got 'recipe.epochs' twice",
    ),
    "swept scratch without validation": (
        {"recipe": {"student": {"epochs": [1, 2]}}, "protocol": {"validation": 0}},
        "recipe.epochs: the value of the student from scratch is chosen on validation images, but "
        "protocol.validation is 0; set it to a fraction of the training images, such as 0.1, or give one value",
    ),
}


@pytest.mark.parametrize(("tables", "message"), REFUSED.values(), ids=REFUSED)
def test_a_recipe_that_is_refused(expanded: Expand, tables: dict[str, Any], message: str) -> None:
    with pytest.raises(MatrixError) as caught:
        expanded(**{"methods": {}, **tables})
    assert str(caught.value).startswith(f"m.toml: {message}")


def test_a_sweep_of_one_label_needs_no_validation(expanded: Expand) -> None:
    found = expanded(methods={"vanilla": {"recipe": {"epochs": [1, 2]}}}, protocol={"validation": 0})
    assert swept(found, "vanilla") == [{"recipe.epochs": 1}, {"recipe.epochs": 2}]
