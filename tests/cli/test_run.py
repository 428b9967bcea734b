"""`run` and `report`, end to end: what a small matrix leaves, and what running it again does."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from kdbench.results import MatrixIndex, Store
from kdbench.results.columns import METRICS

RUNS = 1 + 2 + 4 + 2  # teacher, scratch, vanilla twice, the sum; for each of two seeds
STABLE = (
    *("run_id", "cell", "matrix", "dataset", "teacher", "student", "method", "label", "params", "seed", "status"),
    *("error", "param.alpha", "param.temperature"),
    *(f"{split}_{metric}{suffix}" for split in ("val", "test") for metric in METRICS for suffix in ("", "_best")),
    *("teacher_agreement", "parameters", "parameters_training", "flops", "inference_ms", "inference_ms_p95"),
    *("throughput", "peak_memory_mb", "train_seconds", "epochs_run", "best_epoch", "kdbench_version", "git_commit"),
    *("torch_version", "device", "precision", "cohort_size", "host", "started", "finished"),
)
METHODS_OF_MY_OWN = """
from collections.abc import Iterator
from typing import final
from kdbench import Method, Step

@final
class NotBuilt(Method):
    paper = "none"
    def __init__(self, student) -> None:
        raise ValueError("no such layer")
    def steps(self, batch):
        yield Step({})
    def players(self):
        return {}
    def deployed(self):
        return {}

@final
class NoSteps(Method):
    paper = "none"
    def __init__(self, student) -> None:
        super().__init__()
        self.student = student
    def steps(self, batch):
        loss = self.student(batch.images).logits.square().mean()
        if batch.progress >= 0.5:
            raise RuntimeError("the bank is empty")
        yield Step({"loss": loss})
    def players(self):
        return {"student": self.student}
    def deployed(self):
        return {"student": self.student}
"""


@pytest.fixture(scope="module")
def table(tiny: Any) -> list[dict[str, Any]]:
    """The rows of results.parquet."""
    rows: list[dict[str, Any]] = pq.read_table(tiny.results / "results.parquet").to_pylist()
    return rows


def finished(results: Path) -> dict[str, int]:
    """Every run that has ended, and when its result was written."""
    return {path.parent.name: path.stat().st_mtime_ns for path in results.glob("runs/*/result.json")}


def test_all_went_well(tiny: Any) -> None:
    assert (tiny.said.status, tiny.said.err) == (0, "")


def test_progress_is_told_line_by_line(tiny: Any) -> None:
    assert f"{RUNS} runs, 0 already finished" in tiny.said.out
    assert f"{RUNS} of {RUNS} runs finished" in tiny.said.out
    assert "training cnn_8_16, mlp_16 on digits, seed 0 (2 runs: scratch)" in tiny.said.out
    assert "timing the inference of mlp_16" in tiny.said.out
    assert "\x1b" not in tiny.said.out


def test_the_table_is_printed(tiny: Any) -> None:
    lines = [line.split() for line in tiny.said.out.splitlines()]
    first = [words[0] for words in lines if words and words[0] in ("teacher", "student", "vanilla", "attention")]
    assert first[:4] == ["teacher", "student", "vanilla", "vanilla"]
    assert ["attention", "n/a", "n/a", "n/a"] in lines
    assert "mean ± sample standard deviation over 2 seeds; selection: last epoch." in tiny.said.out


def test_what_cannot_run_is_told(tiny: Any) -> None:
    assert "cells that cannot run: 1; `kdbench plan tiny.toml` says why" in tiny.said.out


def test_there_is_a_row_a_run(table: list[dict[str, Any]]) -> None:
    assert len(table) == RUNS
    assert {row["status"] for row in table} == {"done"}
    assert {row["matrix"] for row in table} == {"tiny"}
    counts = {label: sum(row["label"] == label for row in table) for label in {row["label"] for row in table}}
    assert counts == {"teacher": 1, "scratch": 2, "vanilla": 4, "vanilla + rkd_da": 2}


def test_the_columns_are_the_stable_ones(table: list[dict[str, Any]]) -> None:
    assert [name for name in STABLE if name not in table[0]] == []


def test_a_distilled_runs_row_is_full(table: list[dict[str, Any]]) -> None:
    row = next(row for row in table if row["label"] == "vanilla")
    empty = {name for name in STABLE if row[name] is None}
    assert empty <= {"error", "git_commit"}
    assert (row["teacher"], row["student"], row["dataset"]) == ("cnn_8_16", "mlp_16", "digits")
    assert json.loads(row["params"]) == {"alpha": row["param.alpha"], "temperature": 4.0}
    assert (row["epochs_run"], row["precision"], row["device"], row["param.temperature"]) == (2, "fp32", "cpu", 4.0)


def test_metrics_are_fractions(table: list[dict[str, Any]]) -> None:
    names = [name for name in STABLE if name.startswith(("val_", "test_")) and "nll" not in name]
    assert all(0 <= row[name] <= 1 for row in table for name in names)


def test_a_scratch_run_has_no_teacher(table: list[dict[str, Any]]) -> None:
    rows = [row for row in table if row["method"] == "scratch"]
    assert len(rows) == 3
    assert all(row["teacher"] is None and row["teacher_agreement"] is None for row in rows)


def test_a_cell_is_two_seeds(table: list[dict[str, Any]]) -> None:
    cells = {row["cell"]: {r["seed"] for r in table if r["cell"] == row["cell"]} for row in table}
    assert sorted(map(len, cells.values())) == [1, 2, 2, 2, 2]


def test_there_is_a_row_an_epoch(tiny: Any, table: list[dict[str, Any]]) -> None:
    history = pq.read_table(tiny.results / "history.parquet").to_pylist()
    assert len(history) == 2 * RUNS
    assert {row["run_id"] for row in history} == {row["run_id"] for row in table}
    distilled = next(row["run_id"] for row in table if row["label"] == "vanilla + rkd_da")
    (first, last) = [row for row in history if row["run_id"] == distilled]
    assert last["epoch"] == first["epoch"] + 1
    assert {name for name in first if name.startswith("loss.") and first[name] is not None} == {
        *("loss.ce", "loss.kl", "loss.distance", "loss.angle"),
    }


def test_the_index_names_cells_and_reasons(tiny: Any) -> None:
    index = Store(tiny.results, create=False).index("tiny")
    assert isinstance(index, MatrixIndex)
    assert len(index.run_ids) == RUNS
    (incompatible,) = index.incompatible
    assert (incompatible.label, incompatible.runs) == ("attention", 2)
    assert "those of the student have none" in incompatible.reason


def test_every_architecture_was_timed_once(tiny: Any, table: list[dict[str, Any]]) -> None:
    timings = [json.loads(path.read_text()) for path in tiny.results.glob("timings/*.json")]
    assert len(timings) == 2
    assert {t["inference_ms"] for t in timings} == {row["inference_ms"] for row in table}


def test_a_run_folder_is_complete(tiny: Any, table: list[dict[str, Any]]) -> None:
    for row in table:
        names = {path.name for path in (tiny.results / "runs" / row["run_id"]).iterdir()}
        assert names >= {"spec.json", "result.json", "history.parquet", "log.txt", "weights.safetensors"}
        assert not [name for name in names if name.endswith(".tmp")]


def test_the_report_is_written(tiny: Any) -> None:
    text = (tiny.reports / "tiny" / "report.md").read_text()
    assert text.startswith("# tiny\n")
    assert f"- runs: {RUNS} done, 0 failed, 0 running, 0 pending" in text
    assert "- matrix: tiny.toml" in text
    assert "attention compares feature maps and needs stages with height and width" in text


def test_the_latex_tables_are_written(tiny: Any) -> None:
    tables = {path.name: path.read_text() for path in (tiny.reports / "tiny" / "tables").glob("*.tex")}
    assert {"accuracy.tex", "incompatible.tex"} <= set(tables)
    assert all(r"\begin{tabular" in text and r"\toprule" in text for text in tables.values())


def test_running_again_does_nothing_and_imports_no_torch(
    copied: Any, modules_after: Callable[..., set[str]], say: Callable[..., Any]
) -> None:
    before = finished(copied.results)
    said = say("run", "tiny.toml")
    assert (said.status, said.out) == (
        0,
        f"nothing to do: all {RUNS} runs of tiny have ended; `kdbench report` writes the tables\n",
    )
    assert not modules_after("run", "tiny.toml") & {"torch", "pandas", "optuna"}
    assert finished(copied.results) == before


def test_another_label_trains_nothing(copied: Any, say: Callable[..., Any]) -> None:
    before = finished(copied.results)
    text = copied.matrix.read_text().replace("[methods.vanilla]\n", '[methods.HKD]\nmethod = "vanilla"\n')
    copied.matrix.write_text(text)
    said = say("run", "tiny.toml")
    assert f"{RUNS} runs, {RUNS} already finished" in said.out
    assert "training" not in said.out
    assert "HKD" in said.out
    assert finished(copied.results) == before
    labels = {row["label"] for row in pq.read_table(copied.results / "results.parquet").to_pylist()}
    assert labels == {"teacher", "scratch", "HKD", "vanilla + rkd_da"}


def test_a_run_of_two_matrices_is_in_both(copied: Any, say: Callable[..., Any]) -> None:
    copied.matrix.write_text(copied.matrix.read_text().replace('name = "tiny"', 'name = "twin"'))
    assert say("run", "tiny.toml").status == 0
    rows = pq.read_table(copied.results / "results.parquet").to_pylist()
    assert {row["matrix"] for row in rows} == {"tiny; twin"}
    assert json.loads(say("status", "--json").out)["twin"]["done"] == RUNS


@pytest.fixture(scope="module")
def extended(
    tiny: Any, tmp_path_factory: pytest.TempPathFactory, say: Callable[..., Any], at: Callable[..., Any]
) -> tuple[Any, Any, Path]:
    """The small matrix with a method more, and with two of the user's own that fail: copied, run, what it said."""
    folder = tmp_path_factory.mktemp("extended")
    shutil.copytree(tiny.folder, folder, dirs_exist_ok=True)
    (folder / "methods_of_my_own.py").write_text(METHODS_OF_MY_OWN)
    more = '[methods.logit_mse]\n[methods."methods_of_my_own:NotBuilt"]\n[methods."methods_of_my_own:NoSteps"]\n'
    (folder / "tiny.toml").write_text((folder / "tiny.toml").read_text().replace("[run]", f"{more}[run]"))
    before = finished(folder / "results")
    with at(folder):
        return before, say("run", "tiny.toml"), folder


def test_only_what_was_added_is_trained(extended: tuple[Any, Any, Path]) -> None:
    before, said, folder = extended
    after = finished(folder / "results")
    assert {run: when for run, when in after.items() if run in before} == before
    assert len(after) == RUNS + 2 * 3
    assert f"{RUNS + 6} runs, {RUNS} already finished" in said.out


def test_the_others_finish_where_a_method_of_the_users_fails(extended: tuple[Any, Any, Path]) -> None:
    _, said, folder = extended
    assert said.status == 2
    rows = pq.read_table(folder / "results" / "results.parquet").to_pylist()
    ended = {(row["label"], row["status"], row["error"]) for row in rows if row["label"] not in ("vanilla", "teacher")}
    assert ended == {
        ("scratch", "done", None),
        ("vanilla + rkd_da", "done", None),
        ("logit_mse", "done", None),
        ("methods_of_my_own:NotBuilt", "failed", "ValueError: no such layer"),
        ("methods_of_my_own:NoSteps", "failed", "RuntimeError: the bank is empty"),
    }


def test_a_failure_is_told_and_its_traceback_kept(extended: tuple[Any, Any, Path]) -> None:
    _, said, folder = extended
    assert said.out.count("RuntimeError: the bank is empty") >= 2
    assert "Traceback" not in said.out + said.err
    logs = [path.read_text() for path in folder.glob("results/runs/*/log.txt")]
    assert sum("Traceback" in log and "methods_of_my_own.py" in log for log in logs) == 4
    report = (folder / "reports" / "tiny" / "report.md").read_text()
    assert f"- runs: {RUNS + 2} done, 4 failed, 0 running, 0 pending" in report


def test_running_again_trains_no_failed_run_anew(
    extended: tuple[Any, Any, Path], say: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, folder = extended
    monkeypatch.chdir(folder)
    before = finished(folder / "results")
    said = say("run", "tiny.toml")
    assert said.status == 2
    assert "training" not in said.out
    assert finished(folder / "results") == before


def test_what_waits_for_a_failed_teacher_is_told(copied: Any, say: Callable[..., Any]) -> None:
    store = Store(copied.results)
    rows = pq.read_table(copied.results / "results.parquet").to_pylist()
    (teacher,) = [row["run_id"] for row in rows if row["label"] == "teacher"]
    store.write_result(teacher, {"status": "failed", "error": "out of memory", "row": {}})
    for row in rows:
        if row["teacher"] is not None:
            store.clear_result(row["run_id"])
    said = say("run", "tiny.toml")
    assert said.status == 2
    assert "training" not in said.out
    assert f"\nfailed: {teacher}: out of memory\n6 runs wait for a run that failed\n" in said.out
    assert said.out.endswith("\nto try them again: `kdbench retry --failed tiny`, then run the matrix\n")


def test_an_exclude_that_matches_nothing_is_a_warning_and_the_rest_runs(copied: Any, say: Callable[..., Any]) -> None:
    copied.matrix.write_text(copied.matrix.read_text() + '[[exclude]]\nmethod = "fitnets"\n')
    said = say("run", "tiny.toml")
    assert said.status == 0
    assert "warning: tiny.toml: exclude[0]: matches nothing" in said.out
    assert "wrote reports/tiny/report.md" in said.out
