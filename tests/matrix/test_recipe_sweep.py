"""Which lists of a recipe are swept, and what is made of them."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdbench.matrix.recipe_sweep import swept_values, variations, with_values

SWEPT: dict[str, tuple[dict[str, Any], dict[str, list[Any]]]] = {
    "a scalar": ({"epochs": [1, 2]}, {"epochs": [1, 2]}),
    "a key of a table": ({"optimizer": {"lr": [0.1, 0.2]}}, {"optimizer.lr": [0.1, 0.2]}),
    "an optional scalar": ({"grad_clip_norm": [1.0]}, {"grad_clip_norm": [1.0]}),
    "a key of an optional table": ({"early_stopping": {"patience": [1, 2]}}, {"early_stopping.patience": [1, 2]}),
    "a choice of names": ({"precision": ["fp32", "bf16"]}, {"precision": ["fp32", "bf16"]}),
    "the name of a table": ({"schedule": {"name": ["cosine"]}}, {"schedule.name": ["cosine"]}),
    "an empty list": ({"epochs": []}, {"epochs": []}),
    "lists of augmentations": ({"augment": [["flip"], []]}, {"augment": [["flip"], []]}),
    "lists of milestones": ({"schedule": {"milestones": [[1], [2]]}}, {"schedule.milestones": [[1], [2]]}),
}
NOT_SWEPT: dict[str, dict[str, Any]] = {
    "a scalar": {"epochs": 3},
    "augmentations": {"augment": ["flip", "crop"]},
    "no augmentation": {"augment": []},
    "tables of augmentations": {"augment": [{"name": "crop", "padding": 2}]},
    "milestones": {"schedule": {"name": "multistep", "milestones": [1, 2]}},
    "betas": {"optimizer": {"name": "adam", "betas": [0.9, 0.99]}},
    "an unknown key": {"epoch": [1, 2]},
    "a list in place of a table": {"optimizer": ["sgd", "adam"]},
    "zip": {"zip": [["epochs", "batch_size"]]},
}


@pytest.mark.parametrize(("table", "expected"), SWEPT.values(), ids=SWEPT)
def test_a_list_in_place_of_one_value_is_swept(table: dict[str, Any], expected: dict[str, list[Any]]) -> None:
    assert swept_values(table) == expected


@pytest.mark.parametrize("table", NOT_SWEPT.values(), ids=NOT_SWEPT)
def test_other_values_are_not_swept(table: dict[str, Any]) -> None:
    assert swept_values(table) == {}


def test_values_replace_lists_and_nothing_else() -> None:
    table = {"epochs": [1, 2], "optimizer": {"name": "sgd", "lr": [0.1, 0.2]}, "augment": ["flip"], "zip": [["epochs"]]}
    assert with_values(table, {"epochs": 2, "optimizer.lr": 0.1}) == {
        "epochs": 2,
        "optimizer": {"name": "sgd", "lr": 0.1},
        "augment": ["flip"],
    }
    assert table["epochs"] == [1, 2]


AXES = {"epochs": st.integers(), "optimizer.lr": st.floats(0.1, 1), "optimizer.name": st.text(max_size=2)}


@given(
    st.fixed_dictionaries(
        {}, optional={key: st.lists(values, min_size=1, max_size=4, unique=True) for key, values in AXES.items()}
    )
)
def test_every_value_is_in_a_variation(axes: dict[str, list[Any]]) -> None:
    table: dict[str, Any] = {"optimizer": {}}
    for key, values in axes.items():
        name, _, below = key.partition(".")
        table[name] = {**table[name], below: values} if below else values
    found = list(variations(table))
    assert len(found) == 1 + sum(len(values) - 1 for values in axes.values())
    assert all(swept_values(one) == {} for one in found)
    for key, value in itertools.chain(*([(key, value) for value in values] for key, values in axes.items())):
        name, _, below = key.partition(".")
        assert any((one[name][below] if below else one[name]) == value for one in found)
