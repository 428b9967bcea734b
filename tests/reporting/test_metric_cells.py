"""From runs to a cell with its flags."""

import pandas as pd

from kdbench.reporting.configurations import Choice
from kdbench.reporting.matrix_results import MatrixResults
from kdbench.reporting.metric_cells import gain_cell, metric_cell, metric_column
from kdbench.reporting.rows import make_rows
from kdbench.reporting.table import MINUS, PERCENT, POINTS, TableCell


def _one(builder, *scores):
    cell = builder.add("a", list(scores))
    runs = MatrixResults(builder.index, builder.frame, "last")
    return metric_cell(runs, Choice((cell,), cell), "test_accuracy", PERCENT)


def test_a_complete_cell(builder) -> None:
    cell = _one(builder, 0.5, 0.6, 0.7)
    assert (cell.display, cell.n, cell.is_incomplete) == ("60.00 ± 10.00", 3, False)


def test_an_incomplete_cell_is_flagged_with_its_runs(builder) -> None:
    cell = _one(builder, 0.5, 0.7, None)
    assert (cell.display, cell.n, cell.is_incomplete) == ("60.00 ± 14.14 (n=2)†", 2, True)


def test_missing_cells_give_the_reason(builder) -> None:
    assert _one(builder, "boom", "boom").display == "2 of 2 failed"
    assert _one(builder, "boom", None).display == "pending"
    assert _one(builder, float("nan")).display == ""
    runs = MatrixResults(builder.index, builder.frame, "last")
    assert metric_cell(runs, Choice(is_incompatible=True), "test_accuracy", PERCENT).display == "n/a"
    assert metric_cell(runs, Choice(), "test_accuracy", PERCENT).is_missing


def test_failed_seeds_are_counted_in_the_cell(builder) -> None:
    diverged = "epoch 2: loss.ce became NaN or infinite; lower the learning rate"
    assert _one(builder, 0.5, diverged, diverged).display == "50.00 (2 of 3 diverged)†"
    assert _one(builder, 0.5, diverged, "boom").display == "50.00 (1 of 3 diverged, 1 failed)†"
    assert _one(builder, 0.5, "boom", None).display == "50.00 (n=1, 1 failed)†"
    assert _one(builder, diverged, diverged).display == "2 of 2 diverged"
    assert _one(builder, diverged, "boom").display == "1 of 2 diverged, 1 failed"


def test_a_row_with_a_failed_seed_is_never_bold_while_a_complete_one_exists(builder) -> None:
    builder.add("lucky", [0.99, "boom", "boom"])
    builder.add("other", [0.5, 0.6, 0.7])
    runs = MatrixResults(builder.index, builder.frame, "last")
    made = metric_column(runs, make_rows(runs), runs.pairs[0], "test_accuracy", PERCENT)
    assert [cell.is_bold for cell in made] == [False, True]


def test_running_comes_before_pending_and_failed(builder) -> None:
    cell = builder.add("a", [None, None, "boom"])
    first, second, _ = cell.runs.values()
    frame = pd.DataFrame([{"run_id": first, "status": "running"}, {"run_id": second, "status": "pending"}])
    results = MatrixResults(builder.index, pd.concat([builder.frame, frame]), "last")
    assert metric_cell(results, Choice.of(cell), "test_accuracy", PERCENT) == TableCell("running", is_missing=True)


def test_the_teacher_is_never_the_best(thesis) -> None:
    builder = thesis()
    runs = MatrixResults(builder.index, builder.frame, "last")
    made = metric_column(runs, make_rows(runs), runs.pairs[0], "test_accuracy", PERCENT)
    assert made[0].mean == 0.95
    assert max(cell.mean for cell in made[1:] if cell.mean is not None) < 0.95
    assert [index for index, cell in enumerate(made) if cell.is_best] == [3]
    assert not any(cell.is_tied for cell in made)  # with three seeds nothing is tested
    assert [index for index, cell in enumerate(made) if cell.is_untested] == [4]  # a seed failed


def test_a_gain_is_the_mean_of_paired_differences(builder) -> None:
    scratch, method = builder.add("s", [0.5, 0.6, 0.7]), builder.add("m", [0.52, None, 0.74])
    runs = MatrixResults(builder.index, builder.frame, "last")
    cell = gain_cell(runs, Choice((method,), method), Choice((scratch,), scratch), "test_accuracy", POINTS)
    assert cell.display == f"+3.00 [{MINUS}9.71, 15.71] (n=2)†"
    assert gain_cell(runs, Choice((method,), method), Choice(), "test_accuracy", POINTS).mean is None
