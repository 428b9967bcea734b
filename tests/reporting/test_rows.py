"""Rows and the choice of a configuration."""

from dataclasses import replace

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from kdbench.reporting.matrix_results import MatrixResults
from kdbench.reporting.pair import Pair
from kdbench.reporting.rows import find_baseline, make_rows
from kdbench.reporting.tables.accuracy import accuracy_table
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


def test_the_baseline_is_the_plain_run_whatever_the_label_scratch_has(builder) -> None:
    builder.add("scratch", [0.42, 0.43], kind="scratch")
    for smoothing, score in ((0.1, 0.5), (0.9, 0.18)):
        builder.add("scratch", [score] * 2, hyperparameters={"label_smoothing": smoothing})
    builder.add("vanilla", [0.45, 0.46])
    results = MatrixResults(builder.index, builder.frame, "last")
    rows = make_rows(results)
    assert [row.name for row in rows] == ["student from scratch", "scratch", "vanilla"]
    assert find_baseline(rows, results.pairs[0]).chosen is builder.cells[0]
    assert rows[1].choice_for(results.pairs[0]).chosen is builder.cells[1]
    gains = [row[2].display for row in accuracy_table(results, rows).rows]
    assert gains == ["", "+7.50 [1.15, 13.85]", "+3.00 [2.95, 3.05]"]


def test_recipes_of_the_baseline_are_chosen_on_validation(builder) -> None:
    for lr, test, val in ((0.1, 0.9, 0.5), (0.01, 0.8, 0.6)):
        builder.add("scratch", [test], [val], kind="scratch", hyperparameters={"recipe.optimizer.lr": lr})
    assert _chosen(builder)["student from scratch"].hyperparameters == {"recipe.optimizer.lr": 0.01}
    builder.validation = 0.0
    results = MatrixResults(builder.index, builder.frame, "last")
    rows = make_rows(results)
    assert [row.name for row in rows] == [
        "student from scratch (recipe.optimizer.lr = 0.1)",
        "student from scratch (recipe.optimizer.lr = 0.01)",
    ]
    assert find_baseline(rows, results.pairs[0]).chosen is None


def test_a_teacher_that_a_label_has_for_itself_is_a_row(builder) -> None:
    own = ("teacher of vanilla", "teacher of dkd")
    for label in (own[0], "teacher", own[1]):
        builder.add(label, [0.9], kind="teacher")
    builder.cells[2] = replace(builder.cells[2], runs=builder.cells[0].runs)
    assert list(_chosen(builder)) == ["teacher", "teacher of vanilla, dkd"]


def test_the_report_phase_is_shown_and_the_search_phase_is_what_was_tried(searched) -> None:
    results = MatrixResults(searched.index, searched.frame, "last")
    (pair,) = results.pairs
    row = next(row for row in make_rows(results) if row.name == "vanilla")
    choice = row.choice_for(pair)
    assert [cell.phase for cell in choice.candidates] == ["search", "search"]
    assert choice.chosen.phase == "report"
    assert choice.chosen_candidate is choice.candidates[1]
    shown = {row[0].text: row[1].display for row in accuracy_table(results, make_rows(results)).rows}
    assert shown == {"teacher": "95.00", "student from scratch": "70.00 ± 1.41", "vanilla": "76.00 ± 1.41"}


def test_before_the_search_is_finished_its_label_is_pending(searched) -> None:
    searched.cells = [cell for cell in searched.cells if not (cell.label == "vanilla" and cell.phase == "report")]
    results = MatrixResults(searched.index, searched.frame, "last")
    shown = {row[0].text: row[1].display for row in accuracy_table(results, make_rows(results)).rows}
    assert shown["vanilla"] == "pending"


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
