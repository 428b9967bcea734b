"""`report`, on the results of the small matrix."""

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from kdbench.results import Store

ROWS = ["teacher", "student from scratch", "vanilla", "vanilla + rkd_da", "attention"]


def test_the_reports_of_all_matrices_are_written(copied: Any, invoke: Callable[..., Any]) -> None:
    result = invoke("report", "--reports", "again")
    assert result.status == 0
    assert result.out.splitlines()[-1] == "report: again/tiny/report.md"
    assert (copied.folder / "again" / "tiny" / "report.md").read_text() == (
        copied.reports / "tiny" / "report.md"
    ).read_text()


def test_the_printed_table_is_that_of_run(copied: Any, invoke: Callable[..., Any]) -> None:
    printed = invoke("report").out
    assert printed.startswith("Accuracy ")
    assert printed in copied.result.out


def test_quiet_prints_neither_table_nor_path(copied: Any, invoke: Callable[..., Any]) -> None:
    assert (invoke("report", "--quiet", "--reports", "again").out) == ""
    assert (copied.folder / "again" / "tiny" / "report.md").exists()


def test_csv_can_be_redirected_to_a_file(copied: Any, invoke: Callable[..., Any]) -> None:
    result = invoke("report", "--format", "csv")
    title, *rows = csv.reader(io.StringIO(result.out))
    assert title[:3] == ["method", "digits: cnn_8_16 → mlp_16", "digits: cnn_8_16 → mlp_16, std"]
    assert [row[0] for row in rows] == ROWS
    assert result.err == "report: reports/tiny/report.md\n"
    assert result.out == (copied.reports / "tiny" / "tables" / "accuracy.csv").read_text()


@pytest.mark.parametrize(("name", "start"), [("markdown", "## Accuracy\n"), ("latex", "% ")])
def test_markdown_and_latex_are_those_of_the_report(
    copied: Any, invoke: Callable[..., Any], name: str, start: str
) -> None:
    result = invoke("report", "--format", name)
    assert result.err == "report: reports/tiny/report.md\n"
    if name == "markdown":
        assert result.out.startswith(start)
        report = (copied.reports / "tiny" / "report.md").read_text()
        alone = [line for line in result.out.splitlines() if line not in report]
        assert [line.split(":")[0] for line in alone] == ["Images", "Recipe", "Seeds"]  # at the head of the report
    else:
        assert r"\begin{tabular" in result.out


def test_json_has_the_rows_of_the_table(copied: Any, invoke: Callable[..., Any]) -> None:
    found = invoke("report", "--json").json["tiny"]
    assert found["report"] == "reports/tiny/report.md"
    rows = {row["method"]: row["digits: cnn_8_16 → mlp_16"] for row in found["rows"]}
    assert list(rows) == ROWS
    scores = [row["test_accuracy"] for row in copied.rows() if row["label"] == "scratch"]
    assert rows["student from scratch"]["mean"] == pytest.approx(100 * sum(scores) / 2)
    assert [row["flags"] for row in rows.values()].count(["best"]) == 1
    assert rows["attention"]["flags"] == ["missing"]
    gain = {row["method"]: row["gain over scratch"] for row in found["rows"]}["vanilla"]
    assert gain["interval"][0] < gain["mean"] < gain["interval"][1]
    assert gain["text"].endswith(f"{gain['interval'][1]:.2f}]".replace("-", "\N{MINUS SIGN}"))
    assert all(row["notes"][-1].startswith("unequal search budgets") for row in found["rows"])
    assert (rows["student from scratch"]["n"], rows["attention"]["mean"], rows["attention"]["text"]) == (2, None, "n/a")


def test_a_report_imports_no_torch(copied: Any, modules_after: Callable[..., set[str]]) -> None:
    assert not modules_after("report") & {"torch", "optuna"}


def test_a_report_of_one_matrix(copied: Any, invoke: Callable[..., Any]) -> None:
    assert invoke("report", "tiny", "--reports", "again").status == 0
    assert invoke("report", "tini").error == "no matrix 'tini' in 'results'; did you mean 'tiny'?"


def test_several_reports_are_printed_one_after_the_other(copied: Any, invoke: Callable[..., Any]) -> None:
    copied.matrix.write_text(copied.matrix.read_text().replace('name = "tiny"', 'name = "twin"'))
    assert invoke("run", "tiny.toml", "--quiet").status == 0
    assert list(invoke("report", "--json").json) == ["tiny", "twin"]
    out = invoke("report", "--format", "csv").out
    assert out.count("\n\nmethod,") == 1
    assert invoke("report", "twin", "--format", "csv").out == out.partition("\n\n")[2]


def test_a_report_of_the_best_validation_epoch(copied: Any, invoke: Callable[..., Any]) -> None:
    assert invoke("report", "tiny", "--selection", "best_validation").status == 0
    assert "- selection: best validation epoch" in (copied.reports / "tiny" / "report.md").read_text()


def test_a_report_of_the_best_test_epoch_needs_track_test(copied: Any, invoke: Callable[..., Any]) -> None:
    result = invoke("report", "tiny", "--selection", "best_test")
    assert result.status == 1
    assert "track_test = false; use selection 'last' or 'best_validation'" in result.error


@pytest.mark.parametrize(("option", "valid"), [("--selection", "best_validation"), ("--format", "latex")])
def test_an_unknown_value_is_a_usage_error(copied: Any, invoke: Callable[..., Any], option: str, valid: str) -> None:
    result = invoke("report", option, "first")
    assert result.status == 2
    assert valid in result.err


def test_a_report_of_nothing_is_an_error(invoke: Callable[..., Any], tmp_path: Path) -> None:
    assert invoke("report").error.startswith("results: ")
    Store(tmp_path / "results")
    assert invoke("report").error.startswith("no matrix in 'results'")


def test_reports_that_cannot_be_written_are_an_error(copied: Any, invoke: Callable[..., Any]) -> None:
    result = invoke("report", "--reports", "tiny.toml")
    assert result.status == 1
    assert result.error.startswith("tiny.toml: the report cannot be written (")
    assert result.error.endswith("choose another folder with --reports")


def test_missing_tables_are_rebuilt(copied: Any, invoke: Callable[..., Any]) -> None:
    names = ("results.parquet", "history.parquet")
    before = {name: pq.read_table(copied.results / name) for name in names}
    for name in names:
        (copied.results / name).unlink()
    invoke("report")
    for name in names:
        assert pq.read_table(copied.results / name).equals(before[name])
