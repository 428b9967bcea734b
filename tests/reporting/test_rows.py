"""Rows and the choice of a configuration."""

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from kdbench.reporting.matrix_results import MatrixResults
from kdbench.reporting.pair import Pair
from kdbench.reporting.rows import make_rows
from kdbench.results.index import IndexCell, MatrixIndex


def _chosen(builder, selection="last"):
    found = make_rows(MatrixResults(builder.index, builder.frame, selection))
    return {row.name: next(iter(row.choices.values())).chosen for row in found}


def test_rows_are_baselines_then_labels_in_order(thesis) -> None:
    builder = thesis()
    names = [row.name for row in make_rows(MatrixResults(builder.index, builder.frame, "last"))]
    assert names == ["teacher", "student from scratch", "vanilla", "dkd", "half", "broken", "later", "fsp"]


def test_a_label_incompatible_with_the_first_pair_keeps_its_position(builder) -> None:
    for label in ("a", "c"):
        builder.add(label, [None])
    builder.add_incompatible("b", "no")
    for label in ("a", "b", "c"):
        builder.add(label, [None], pair=("mnist", "t", "s"))
    found = make_rows(MatrixResults(builder.index, builder.frame, "last"))
    assert [row.name for row in found] == ["a", "b", "c"]
    assert [choice.is_incompatible for choice in found[1].choices.values()] == [True, False]


def test_the_configuration_with_the_best_validation_mean_is_chosen(thesis) -> None:
    chosen = _chosen(thesis())["vanilla"]
    assert chosen.hyperparameters == {"alpha": 0.9, "temperature": 4.0}


@given(st.lists(st.floats(0, 1), min_size=6, max_size=6))
def test_the_choice_does_not_depend_on_the_test_set(scores: list[float]) -> None:
    cells, table = [], []
    for position, val in enumerate((0.7, 0.9, 0.8)):
        ids = {str(seed): f"{position}-{seed}" for seed in range(2)}
        cells.append(IndexCell("method", "m", "d", "t", "s", "m", {"x": position}, ids))
        for seed, run in enumerate(ids.values()):
            columns = {f"test_{name}": scores[2 * position + seed] for name in ("accuracy", "f1", "accuracy_best")}
            table.append({"run_id": run, "status": "done", "val_accuracy": val, "val_accuracy_best": val, **columns})
    index = MatrixIndex("m", "m.toml", "0", 0.1, False, tuple(cells))
    for selection in ("last", "best_validation"):
        (row,) = make_rows(MatrixResults(index, pd.DataFrame(table), selection))
        assert row.choices[Pair.of(cells[0])].chosen is cells[1]


def test_only_best_test_chooses_on_the_test_set(thesis) -> None:
    builder = thesis(track_test=True)
    frame = builder.frame.assign(test_accuracy_best_test=-builder.frame["test_accuracy"])  # reverses the order
    found = {row.name: row for row in make_rows(MatrixResults(builder.index, frame, "best_test"))}
    (choice,) = found["vanilla"].choices.values()
    assert choice.chosen.hyperparameters["alpha"] == 0.1


def test_a_configuration_that_diverged_on_a_seed_is_not_chosen(builder) -> None:
    diverged = "epoch 1: loss.ce became NaN or infinite"
    builder.add("a", [0.99, diverged, diverged], hyperparameters={"x": 1})
    builder.add("a", [0.5, 0.6, 0.7], hyperparameters={"x": 2})
    builder.add("b", [0.8, "boom"], hyperparameters={"x": 1})
    assert _chosen(builder)["a"].hyperparameters == {"x": 2}
    assert _chosen(builder)["b"].hyperparameters == {"x": 1}


def test_nothing_is_chosen_before_there_is_a_result(builder) -> None:
    builder.add("a", [None], hyperparameters={"x": 1})
    builder.add("a", ["boom"], hyperparameters={"x": 2})
    assert _chosen(builder) == {"a": None}


def test_without_validation_each_configuration_is_a_row(thesis) -> None:
    names = list(_chosen(thesis(validation=0.0)))
    assert names[2:5] == ["vanilla (alpha = 0.1)", "vanilla (alpha = 0.9)", "dkd"]


def test_configurations_of_several_pairs_share_rows_without_validation(thesis) -> None:
    builder = thesis((("a", "t", "s"), ("b", "t", "s")), validation=0.0)
    found = {row.name: row for row in make_rows(MatrixResults(builder.index, builder.frame, "last"))}
    assert len(found["vanilla (alpha = 0.1)"].choices) == 2
