"""`report`, on the results of the small matrix."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from kdbench.results import Store


def test_reports_of_all_matrices(copied: Any, say: Callable[..., Any]) -> None:
    said = say("report", "--reports", "again")
    assert said.status == 0
    assert said.out.splitlines()[0] == "wrote again/tiny/report.md"
    assert (copied.folder / "again" / "tiny" / "report.md").read_text() == (
        copied.reports / "tiny" / "report.md"
    ).read_text()


def test_a_report_imports_no_torch(copied: Any, modules_after: Callable[..., set[str]]) -> None:
    assert not modules_after("report") & {"torch", "optuna"}


def test_the_report_of_one_matrix(copied: Any, say: Callable[..., Any]) -> None:
    assert say("report", "tiny", "--reports", "again").status == 0
    assert say("report", "tini").error == "no matrix 'tini' in 'results'; did you mean 'tiny'?"


def test_a_report_of_the_best_validation_epoch(copied: Any, say: Callable[..., Any]) -> None:
    assert say("report", "tiny", "--selection", "best_validation").status == 0
    assert "- selection: best validation epoch" in (copied.reports / "tiny" / "report.md").read_text()


def test_a_report_of_the_best_test_epoch_is_refused_untracked(copied: Any, say: Callable[..., Any]) -> None:
    said = say("report", "tiny", "--selection", "best_test")
    assert said.status == 1
    assert "track_test = false; use selection 'last' or 'best_validation'" in said.error


def test_an_unknown_selection_is_a_wrong_call(copied: Any, say: Callable[..., Any]) -> None:
    said = say("report", "--selection", "first")
    assert said.status == 2
    assert "best_validation" in said.err


def test_a_report_of_nothing_is_refused(say: Callable[..., Any], tmp_path: Path) -> None:
    assert say("report").error.startswith("results: results folder not found")
    Store(tmp_path / "results")
    assert say("report").error.startswith("no matrix has been run into 'results'")


def test_a_file_in_the_place_of_the_reports(copied: Any, say: Callable[..., Any]) -> None:
    said = say("report", "--reports", "tiny.toml")
    assert said.status == 1
    assert said.error.startswith("tiny.toml: the report cannot be written (")
    assert said.error.endswith("choose another folder with --reports")


def test_lost_tables_are_rebuilt(copied: Any, say: Callable[..., Any]) -> None:
    names = ("results.parquet", "history.parquet")
    kept = {name: pq.read_table(copied.results / name) for name in names}
    for name in names:
        (copied.results / name).unlink()
    say("report")
    for name in names:
        assert pq.read_table(copied.results / name).equals(kept[name])
