"""Agreement with the teacher of a row, and intervals over seeds and test images, from the predictions of runs."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kdbench.analysis import bootstrap_interval
from kdbench.errors import ResultsError
from kdbench.reporting import build_tables
from kdbench.reporting.matrix_results import MatrixResults
from kdbench.reporting.predictions import PredictionReader, gain_over_images, teacher_agreement
from kdbench.results.predictions import Predictions

LABELS = np.random.default_rng(0).integers(10, size=500)
Networks = Mapping[str, Predictions]


def predictions(seed: int, signal: float = 2.0) -> Predictions:
    logits = np.random.default_rng(seed).normal(size=(500, 10)) + signal * np.eye(10)[LABELS]
    logits[:3] = 0
    return Predictions.from_logits(logits, LABELS)


class Folder:
    """The predictions of runs, and how often each was loaded."""

    def __init__(self) -> None:
        self.runs: dict[str, Networks] = {}
        self.loads: Counter[str] = Counter()

    def load(self, run_id: str) -> Networks:
        self.loads[run_id] += 1
        if run_id not in self.runs:
            raise ResultsError(f"{run_id}: corrupted")
        return self.runs[run_id]


@pytest.fixture
def folder() -> Folder:
    return Folder()


@pytest.fixture
def paired(builder: Any, folder: Folder) -> Any:
    """A matrix of three seeds with a teacher each, scratch, and a method, all with predictions."""
    teacher = builder.add("teacher", [0.9] * 3, kind="teacher")
    for label, kind in (("scratch", "scratch"), ("vanilla", "method")):
        builder.add(label, [0.8, 0.81, 0.82], kind=kind, cell={"teachers": teacher.runs})
    for number, cell in enumerate(builder.cells):
        for seed, run in cell.runs.items():
            key = 10 * number + int(seed)
            folder.runs[run] = {"student": predictions(key, 2 + number / 4), "best": predictions(100 + key)}
    return builder


def accuracy(builder: Any, folder: Folder, selection: Any = "last") -> dict[str, dict[str, Any]]:
    """Return the cells of the accuracy table by row and column."""
    table = build_tables(builder.index, builder.frame, selection, PredictionReader(folder.load))[0]
    titles = [column.full_title for column in table.columns]
    return {row[0].text: dict(zip(titles, row, strict=True)) for row in table.rows}


def test_each_run_is_compared_with_the_teacher_of_its_seed(paired: Any, folder: Folder) -> None:
    teacher, scratch, vanilla = paired.cells
    rows = accuracy(paired, folder)
    for name, cell in (("student from scratch", scratch), ("vanilla", vanilla)):
        shares = []
        for seed in "012":
            ours, theirs = (folder.runs[one.runs[seed]]["student"].predicted for one in (cell, teacher))
            shares.append(np.mean([a == b >= 0 for a, b in zip(ours, theirs, strict=True)]))
        found = rows[name]["agreement with teacher (%)"]
        assert (found.mean, found.std, found.n) == (
            pytest.approx(np.mean(shares)),
            pytest.approx(np.std(shares, ddof=1)),
            3,
        )
    assert rows["teacher"]["agreement with teacher (%)"].display == ""


def test_the_selection_determines_the_weights_of_the_student(paired: Any, folder: Folder) -> None:
    results = MatrixResults(paired.index, paired.frame, "best_validation", PredictionReader(folder.load))
    teacher, _, vanilla = paired.cells
    ours, theirs = folder.runs[vanilla.runs["1"]]["best"], folder.runs[teacher.runs["1"]]["student"]
    expected = np.mean((ours.predicted == theirs.predicted) & (ours.predicted >= 0))
    assert teacher_agreement(results, vanilla)["1"] == expected
    folder.runs[vanilla.runs["1"]] = {"student": ours}  # the best epoch is the last one
    results = MatrixResults(paired.index, paired.frame, "best_validation", PredictionReader(folder.load))
    assert teacher_agreement(results, vanilla)["1"] == expected


def test_the_interval_over_images_stands_beside_the_gain(paired: Any, folder: Folder) -> None:
    _, scratch, vanilla = paired.cells
    gains = [
        folder.runs[vanilla.runs[seed]]["student"].correct * 1.0 - folder.runs[scratch.runs[seed]]["student"].correct
        for seed in "012"
    ]
    expected = bootstrap_interval(np.stack(gains))
    cell = accuracy(paired, folder)["vanilla"]["gain, seeds and test images"]
    assert expected is not None
    assert cell.interval == expected
    assert cell.display == f"[{100 * expected.low:.2f}, {100 * expected.high:.2f}]".replace("-", "\N{MINUS SIGN}")
    table = build_tables(paired.index, paired.frame, "last", PredictionReader(folder.load))[0]
    assert "Seeds and test images: the 95 % interval" in table.caption


def test_common_seeds_alone_are_compared(paired: Any, folder: Folder) -> None:
    teacher, scratch, vanilla = paired.cells
    frame = paired.frame[paired.frame["run_id"] != vanilla.runs["2"]]
    results = MatrixResults(paired.index, frame, "last", PredictionReader(folder.load))
    assert list(teacher_agreement(results, vanilla).index) == ["0", "1"]
    gains = [
        folder.runs[vanilla.runs[seed]]["student"].correct * 1.0 - folder.runs[scratch.runs[seed]]["student"].correct
        for seed in "01"
    ]
    assert gain_over_images(results, vanilla, scratch) == bootstrap_interval(np.stack(gains))
    frame = frame[frame["run_id"] != teacher.runs["0"]]
    results = MatrixResults(paired.index, frame, "last", PredictionReader(folder.load))
    assert list(teacher_agreement(results, vanilla).index) == ["1"]


def test_predictions_of_another_number_of_images_are_not_compared(paired: Any, folder: Folder) -> None:
    _, scratch, vanilla = paired.cells
    ours = folder.runs[vanilla.runs["1"]]["student"]
    folder.runs[vanilla.runs["1"]] = {
        "student": replace(ours, predicted=ours.predicted[1:], correct=ours.correct[1:]),
    }
    results = MatrixResults(paired.index, paired.frame, "last", PredictionReader(folder.load))
    assert list(teacher_agreement(results, vanilla).index) == ["0", "2"]
    assert gain_over_images(results, vanilla, scratch) is None


def test_a_cell_without_a_teacher_is_blank(paired: Any, folder: Folder) -> None:
    paired.cells[2] = replace(paired.cells[2], teachers={})
    assert accuracy(paired, folder)["vanilla"]["agreement with teacher (%)"].display == ""


def test_the_best_test_epoch_has_no_predictions(paired: Any, folder: Folder) -> None:
    paired.track_test = True
    frame = paired.frame.assign(test_accuracy_best_test=0.9)
    table = build_tables(paired.index, frame, "best_test", PredictionReader(folder.load))[0]
    assert [row[-1].display for row in table.rows] == ["", "", ""]
    assert "gain, seeds and test images" not in [column.full_title for column in table.columns]
    assert table.notes[-1].startswith("The predictions of the best test epoch are not kept")
    assert not folder.loads


@pytest.mark.parametrize("number", [0, 2])
def test_corrupted_predictions_leave_cells_blank_and_are_named(paired: Any, folder: Folder, number: int) -> None:
    run = paired.cells[number].runs["1"]
    del folder.runs[run]
    table = build_tables(paired.index, paired.frame, "last", PredictionReader(folder.load))[0]
    assert f"The predictions of run {run} cannot be read" in table.notes[-1]
    assert "`kdbench reindex --deep`" in table.notes[-1]
    found = accuracy(paired, folder)["vanilla"]
    assert found["agreement with teacher (%)"].n == 2
    assert ("gain, seeds and test images" in found) == (number == 0)


def test_every_file_is_read_at_most_once_and_only_for_rows_that_are_shown(paired: Any, folder: Folder) -> None:
    for alpha, score in ((0.1, 0.7), (0.9, 0.8)):
        cell = paired.add("dkd", [score] * 3, [score] * 3, hyperparameters={"beta": alpha}, cell={"teachers": {}})
        folder.runs |= {run: {"student": predictions(7)} for run in cell.runs.values()}
    accuracy(paired, folder)
    hidden = set(paired.cells[3].runs.values())
    assert set(folder.loads) == folder.runs.keys() - hidden
    assert set(folder.loads.values()) == {1}


def test_alpha_tables_have_the_agreement_of_every_configuration(builder: Any, folder: Folder) -> None:
    teacher = builder.add("teacher", [0.9], kind="teacher")
    cells = [
        builder.add("m", [0.5], hyperparameters={"alpha": alpha}, cell={"teachers": teacher.runs})
        for alpha in (0.1, 0.2)
    ]
    for number, cell in enumerate((teacher, *cells)):
        folder.runs[cell.runs["0"]] = {"student": predictions(number)}
    tables = build_tables(builder.index, builder.frame, "last", PredictionReader(folder.load))
    (table,) = (one for one in tables if one.name.startswith("alpha"))
    assert table.columns[-1].title == "agreement\n(%)"
    for cell, row in zip(cells, table.rows, strict=True):
        ours, theirs = (folder.runs[run]["student"].predicted for run in (cell.runs["0"], teacher.runs["0"]))
        assert row[-1].mean == np.mean((ours == theirs) & (ours >= 0))


def test_a_missing_results_folder_is_a_run_without_predictions(tmp_path: Path) -> None:
    reader = PredictionReader.of(tmp_path / "none")
    assert reader.is_missing("0123")
    assert reader.saved("0123") is None
    without: Callable[[str], bool] = PredictionReader().is_missing
    assert not without("0123")
