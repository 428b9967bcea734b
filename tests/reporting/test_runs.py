"""A matrix and its runs, joined."""

import pandas as pd
import pytest

from kdbench.errors import ReportError
from kdbench.reporting.runs import Pair, Runs


def test_values_are_by_seed_and_only_of_runs_that_are_done(world) -> None:
    cell = world.add("a", [0.5, None, "boom", 0.75])
    runs = Runs(world.index, world.frame, "last")
    assert runs.values(cell, "test_accuracy").to_dict() == {"0": 0.5, "3": 0.75}
    assert [runs.status(run) for run in cell.runs.values()] == ["done", "pending", "failed", "done"]
    assert runs.values(cell, "no_such_column").empty


def test_scores_align_seeds_and_leave_gaps_out(world) -> None:
    cells = [world.add("a", [0.5, None]), None, world.add("b", [None, 0.75])]
    scores = Runs(world.index, world.frame, "last").scores(cells, "test_accuracy")
    assert list(scores.columns) == [0, 2]
    assert scores[0].dropna().to_dict() == {"0": 0.5}
    assert scores[2].dropna().to_dict() == {"1": 0.75}


def test_the_selection_names_the_column(world) -> None:
    cell = world.add("a", [0.5])
    runs = Runs(world.index, world.frame, "best_validation")
    assert runs.values(cell, runs.column("test", "accuracy")).tolist() == [0.501]


def test_an_empty_frame_waits(world) -> None:
    cell = world.add("a", [None])
    runs = Runs(world.index, pd.DataFrame(), "last")
    assert runs.count(cell.runs.values()) == {"pending": 1}
    assert not runs.has("test_accuracy")


def test_runs_under_way_and_of_other_matrices(world) -> None:
    cell = world.add("a", [0.5, 0.6])
    frame = pd.concat([world.frame, world.frame, pd.DataFrame([{"run_id": "other", "status": "done"}])])
    frame.loc[frame["seed"] == 1, "status"] = "running"
    runs = Runs(world.index, frame, "last")
    assert runs.count(cell.runs.values()) == {"done": 1, "pending": 1}
    assert runs.values(cell, "test_accuracy").to_dict() == {"0": 0.5}


def test_the_first_line_of_an_error(world) -> None:
    one = world.add("a", ["out of memory\nTraceback ...", "  "])
    runs = Runs(world.index, world.frame, "last")
    assert [runs.error(run) for run in one.runs.values()] == ["out of memory", "no message"]


def test_pairs_stand_data_set_by_data_set(world) -> None:
    pairs = [Pair("a", "t", "s"), Pair("b", "t", "s"), Pair("a", "u", "v"), Pair("b", "u", "v")]
    for pair in pairs:
        world.add("x", [None], pair=(pair.dataset, pair.teacher, pair.student))
    found = Runs(world.index, world.frame, "last").pairs
    assert found == (pairs[0], pairs[2], pairs[1], pairs[3])


def test_results_without_the_selected_column_are_refused(world) -> None:
    world.track_test = True
    world.add("a", [0.5])
    with pytest.raises(ReportError, match="needs the column 'test_accuracy_best_test'"):
        Runs(world.index, world.frame, "best_test")
