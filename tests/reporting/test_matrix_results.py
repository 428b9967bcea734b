"""A matrix joined with the results of its runs."""

import pandas as pd
import pytest

from kdbench.errors import ReportError
from kdbench.reporting.matrix_results import MatrixResults
from kdbench.reporting.pair import Pair


def test_values_are_those_of_finished_runs_by_seed(builder) -> None:
    cell = builder.add("a", [0.5, None, "boom", 0.75])
    runs = MatrixResults(builder.index, builder.frame, "last")
    assert runs.values(cell, "test_accuracy").to_dict() == {"0": 0.5, "3": 0.75}
    assert [runs.status(run) for run in cell.runs.values()] == ["done", "pending", "failed", "done"]
    assert runs.values(cell, "no_such_column").empty


def test_scores_align_seeds_and_skip_missing_cells(builder) -> None:
    cells = [builder.add("a", [0.5, None]), None, builder.add("b", [None, 0.75])]
    scores = MatrixResults(builder.index, builder.frame, "last").scores(cells, "test_accuracy")
    assert list(scores.columns) == [0, 2]
    assert scores[0].dropna().to_dict() == {"0": 0.5}
    assert scores[2].dropna().to_dict() == {"1": 0.75}


def test_the_selection_determines_the_column(builder) -> None:
    cell = builder.add("a", [0.5])
    runs = MatrixResults(builder.index, builder.frame, "best_validation")
    assert runs.values(cell, runs.metric_column("test", "accuracy")).tolist() == [0.501]


def test_runs_without_a_row_are_pending(builder) -> None:
    cell = builder.add("a", [None])
    runs = MatrixResults(builder.index, pd.DataFrame(), "last")
    assert runs.count_by_status(cell.runs.values()) == {"pending": 1}


def test_running_runs_and_runs_of_other_matrices(builder) -> None:
    cell = builder.add("a", [0.5, 0.6])
    frame = pd.concat([builder.frame, builder.frame, pd.DataFrame([{"run_id": "other", "status": "done"}])])
    frame.loc[frame["seed"] == 1, "status"] = "running"
    runs = MatrixResults(builder.index, frame, "last")
    assert runs.count_by_status(cell.runs.values()) == {"done": 1, "running": 1}
    assert runs.values(cell, "test_accuracy").to_dict() == {"0": 0.5}


def test_the_first_line_of_an_error(builder) -> None:
    one = builder.add("a", ["out of memory\nTraceback ...", "  "])
    runs = MatrixResults(builder.index, builder.frame, "last")
    assert [runs.error(run) for run in one.runs.values()] == ["out of memory", "no message"]


def test_pairs_are_grouped_by_data_set(builder) -> None:
    pairs = [Pair("a", "t", "s"), Pair("b", "t", "s"), Pair("a", "u", "v"), Pair("b", "u", "v")]
    for pair in pairs:
        builder.add("x", [None], pair=(pair.dataset, pair.teacher, pair.student))
    found = MatrixResults(builder.index, builder.frame, "last").pairs
    assert found == (pairs[0], pairs[2], pairs[1], pairs[3])


def test_results_without_the_selected_column_are_refused(builder) -> None:
    builder.track_test = True
    builder.add("a", [0.5])
    with pytest.raises(ReportError, match="needs the column 'test_accuracy_best_test'"):
        MatrixResults(builder.index, builder.frame, "best_test")
