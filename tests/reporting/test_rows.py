"""Rows and the choice of a configuration."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdbench.reporting.rows import configuration, rows
from kdbench.reporting.runs import Runs, pair_of
from kdbench.results.index import IndexCell, MatrixIndex


def _chosen(world, selection="last"):
    found = rows(Runs(world.index, world.frame, selection))
    return {row.name: next(iter(row.choices.values())).chosen for row in found}


def test_rows_are_baselines_then_labels_in_order(thesis) -> None:
    world = thesis()
    names = [row.name for row in rows(Runs(world.index, world.frame, "last"))]
    assert names == ["teacher", "student from scratch", "vanilla", "dkd", "half", "broken", "later", "fsp"]


def test_a_label_keeps_its_place_though_it_cannot_run_on_the_first_pair(world) -> None:
    for label in ("a", "c"):
        world.add(label, [None])
    world.refuse("b", "no")
    for label in ("a", "b", "c"):
        world.add(label, [None], pair=("mnist", "t", "s"))
    found = rows(Runs(world.index, world.frame, "last"))
    assert [row.name for row in found] == ["a", "b", "c"]
    assert [choice.incompatible for choice in found[1].choices.values()] == [True, False]


def test_the_configuration_with_the_best_validation_mean_is_chosen(thesis) -> None:
    chosen = _chosen(thesis())["vanilla"]
    assert chosen.hyperparameters == {"alpha": 0.9, "temperature": 4.0}


@given(st.lists(st.floats(0, 1), min_size=6, max_size=6))
def test_the_choice_never_sees_the_test_set(scores: list[float]) -> None:
    cells, table = [], []
    for place, val in enumerate((0.7, 0.9, 0.8)):
        ids = {str(seed): f"{place}-{seed}" for seed in range(2)}
        cells.append(IndexCell("method", "m", "d", "t", "s", "m", {"x": place}, ids))
        for seed, run in enumerate(ids.values()):
            columns = {f"test_{name}": scores[2 * place + seed] for name in ("accuracy", "f1", "accuracy_best")}
            table.append({"run_id": run, "status": "done", "val_accuracy": val, "val_accuracy_best": val, **columns})
    index = MatrixIndex("m", "m.toml", "0", 0.1, False, tuple(cells))
    for selection in ("last", "best_validation"):
        (row,) = rows(Runs(index, pd.DataFrame(table), selection))
        assert row.choices[pair_of(cells[0])].chosen is cells[1]


def test_best_test_chooses_on_test_and_only_then(thesis) -> None:
    world = thesis(track_test=True)
    frame = world.frame.assign(test_accuracy_best_test=-world.frame["test_accuracy"])  # turns the order round
    found = {row.name: row for row in rows(Runs(world.index, frame, "best_test"))}
    (choice,) = found["vanilla"].choices.values()
    assert choice.chosen.hyperparameters["alpha"] == 0.1


def test_nothing_is_chosen_before_there_is_a_result(world) -> None:
    world.add("a", [None], hyperparameters={"x": 1})
    world.add("a", ["boom"], hyperparameters={"x": 2})
    assert _chosen(world) == {"a": None}


def test_without_validation_each_configuration_is_a_row(thesis) -> None:
    names = list(_chosen(thesis(validation=0.0)))
    assert names[2:5] == ["vanilla (alpha = 0.1)", "vanilla (alpha = 0.9)", "dkd"]


def test_configurations_of_several_pairs_share_rows_without_validation(thesis) -> None:
    world = thesis((("a", "t", "s"), ("b", "t", "s")), validation=0.0)
    found = {row.name: row for row in rows(Runs(world.index, world.frame, "last"))}
    assert len(found["vanilla (alpha = 0.1)"].choices) == 2


@pytest.mark.parametrize(
    ("hyperparameters", "text"),
    [
        ({}, ""),
        ({"alpha": 0.1, "temperature": 4.0}, "alpha = 0.1, temperature = 4"),
        ({"flag": True, "other": None}, "flag = true, other = none"),
        ({"layers": [1, 2.50], "mode": "joint"}, "layers = [1, 2.5], mode = joint"),
        ({"weight": 1e-05}, "weight = 1e-05"),
    ],
)
def test_configurations_in_words(hyperparameters: dict[str, object], text: str) -> None:
    assert configuration(hyperparameters) == text
