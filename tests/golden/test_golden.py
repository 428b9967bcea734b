"""The numbers of short fp32 runs, networks, augmentations, metrics and splits are those that are stored."""

from typing import Any

import pytest
from golden_runs import of_methods
from golden_values import GROUPS, REMEDY, compute, differences, stored, stored_numerics

from kdbench.data import augment
from kdbench.methods import METHODS
from kdbench.models import FAMILIES
from kdbench.numerics import NUMERICS
from kdbench.training import foreach


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("group", GROUPS)
def test_the_numbers_are_those_that_are_stored(group: str) -> None:
    moved = list(differences(compute(group), stored(group)))
    assert not moved, f"{REMEDY}:\n" + "\n".join(moved)


def test_the_stored_numbers_are_of_this_version() -> None:
    assert stored_numerics() == NUMERICS, "NUMERICS was raised: run `python scripts/golden`"


def test_every_method_and_every_family_has_stored_numbers() -> None:
    methods = {case.removeprefix("method ") for case in stored("methods")}
    assert {*METHODS} <= methods, "a method without stored numbers: run `python scripts/golden`"
    networks = {case.removeprefix("network ") for case in stored("networks")}
    assert not [family.pattern for family in FAMILIES if not networks & {*family.examples}]
    assert not [case for group in GROUPS for case, values in stored(group).items() if "incompatible" in values]


def test_a_new_method_without_stored_numbers_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    only = {"scratch": METHODS["scratch"], "renamed": METHODS["logit_mse"]}
    monkeypatch.setattr("golden_runs.METHODS", only)
    monkeypatch.setitem(METHODS, "renamed", METHODS["logit_mse"])
    assert "method renamed: no stored numbers" in list(differences(of_methods(), stored("methods")))


def test_a_change_of_the_code_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    original = augment._flip
    monkeypatch.setattr(augment, "_flip", lambda images, p, generator: original(images, p * 0.5, generator))
    moved = list(differences(compute("augmentations"), stored("augmentations")))
    assert {line.split(",")[0] for line in moved} == {"augmentation flip"}


def test_another_weight_decay_of_a_few_steps_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    original = foreach.sgd

    def without_decay(*args: Any, **options: Any) -> None:
        original(*args, **{**options, "weight_decay": 0.0})

    monkeypatch.setattr(foreach, "sgd", without_decay)
    moved = list(differences(compute("recipes"), stored("recipes")))
    assert {line.split(",")[0] for line in moved} >= {"schedule cosine", "schedule plateau", "augment crop"}


@pytest.mark.parametrize(
    ("found", "count"),
    [
        ({"a": {"x": [1.0, 100.0]}}, 0),
        ({"a": {"x": [1.0, 100.15]}}, 0),
        ({"a": {"x": [1.0, 100.25]}}, 1),
        ({"a": {"x": [1.0, float("nan")]}}, 1),
        ({"a": {"x": [1.0]}}, 1),
        ({"a": {}}, 1),
        ({}, 1),
        ({"a": {"x": [1.0, 100.0]}, "b": {}}, 1),
    ],
)
def test_what_counts_as_a_difference(found: dict[str, dict[str, list[float]]], count: int) -> None:
    assert len(list(differences(found, {"a": {"x": [1.0, 100.0]}}))) == count
