"""`run` and `report`, end to end: what a small matrix leaves, and what running it again does."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from processes import processes_in

import kdbench
from kdbench.matrix import MatrixSpec
from kdbench.plan import Plan, make_plan
from kdbench.results import MatrixIndex, Store
from kdbench.results.columns import METRICS
from kdbench.results.hardware import cpu_model
from kdbench.results.sessions import read_sessions
from kdbench.results.table import read_rows
from kdbench.results.timings import read_timings, write_timing

RUNS = 1 + 2 + 4 + 2  # teacher, scratch, vanilla twice, the sum; for each of two seeds
STABLE = (
    *("run_id", "cell", "matrix", "dataset", "teacher", "student", "method", "label", "params", "seed", "status"),
    *("error", "param.alpha", "param.temperature"),
    *(f"{split}_{metric}{suffix}" for split in ("val", "test") for metric in METRICS for suffix in ("", "_best")),
    *("teacher_agreement", "parameters", "parameters_training", "flops", "inference_ms", "inference_ms_p95"),
    *("throughput", "peak_memory_mb", "train_seconds", "epochs_run", "best_epoch", "kdbench_version", "git_commit"),
    *("torch_version", "device", "precision", "cohort_size", "host", "started", "finished"),
)
CUSTOM_METHODS = """
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
    rows: list[dict[str, Any]] = tiny.rows()
    return rows


def finished(results: Path) -> dict[str, int]:
    """Every finished run, and when its result was written."""
    return {path.parent.name: path.stat().st_mtime_ns for path in results.glob("runs/*/result.json")}


def test_the_status_is_0(tiny: Any) -> None:
    assert (tiny.result.status, tiny.result.err) == (0, "")


def test_progress_is_printed_line_by_line(tiny: Any) -> None:
    assert f"{RUNS} runs, 0 already finished" in tiny.result.out
    assert f"{RUNS} of {RUNS} runs finished" in tiny.result.out
    assert "training cnn_8_16 on digits, seed 0 (scratch)" in tiny.result.out
    assert "timing the inference of mlp_16" in tiny.result.out
    assert "\x1b" not in tiny.result.out


def test_the_table_is_printed(tiny: Any) -> None:
    lines = [line.split() for line in tiny.result.out.splitlines()]
    first = [words[0] for words in lines if words and words[0] in ("teacher", "student", "vanilla", "attention")]
    assert first[:4] == ["teacher", "student", "vanilla", "vanilla"]
    assert ["attention", "n/a", "n/a", "n/a"] in lines
    assert "mean ± sample standard deviation over 2 seeds; selection: last epoch." in tiny.result.out


def test_incompatible_cells_are_counted(tiny: Any) -> None:
    assert "1 incompatible cell; `kdbench plan tiny.toml` gives the reasons\n" in tiny.result.out


def test_there_is_one_row_per_run(table: list[dict[str, Any]]) -> None:
    assert len(table) == RUNS
    assert {row["status"] for row in table} == {"done"}
    assert {row["matrix"] for row in table} == {"tiny"}
    counts = {label: sum(row["label"] == label for row in table) for label in {row["label"] for row in table}}
    assert counts == {"teacher": 1, "scratch": 2, "vanilla": 4, "vanilla + rkd_da": 2}


def test_the_columns_are_the_stable_ones(table: list[dict[str, Any]]) -> None:
    assert [name for name in STABLE if name not in table[0]] == []


def test_the_row_of_a_distilled_run_is_complete(table: list[dict[str, Any]]) -> None:
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


def test_a_cell_has_two_seeds(table: list[dict[str, Any]]) -> None:
    cells = {row["cell"]: {r["seed"] for r in table if r["cell"] == row["cell"]} for row in table}
    assert sorted(map(len, cells.values())) == [1, 2, 2, 2, 2]


def test_there_is_one_row_per_epoch(tiny: Any, table: list[dict[str, Any]]) -> None:
    history = pq.read_table(tiny.results / "history.parquet").to_pylist()
    assert len(history) == 2 * RUNS
    assert {row["run_id"] for row in history} == {row["run_id"] for row in table}
    distilled = next(row["run_id"] for row in table if row["label"] == "vanilla + rkd_da")
    (first, last) = [row for row in history if row["run_id"] == distilled]
    assert last["epoch"] == first["epoch"] + 1
    assert {name for name in first if name.startswith("loss.") and first[name] is not None} == {
        *("loss.ce", "loss.kl", "loss.distance", "loss.angle"),
    }


def test_the_index_holds_cells_and_reasons(tiny: Any) -> None:
    index = Store(tiny.results, create=False).index("tiny")
    assert isinstance(index, MatrixIndex)
    assert len(index.run_ids) == RUNS
    (incompatible,) = index.incompatible
    assert (incompatible.label, incompatible.runs) == ("attention", 2)
    assert "the student has none" in incompatible.reason


def test_every_architecture_was_timed_once(tiny: Any, table: list[dict[str, Any]]) -> None:
    timings = [json.loads(path.read_text()) for path in tiny.results.glob("timings/*.json")]
    assert len(timings) == 2
    assert {t["times"]["inference_ms"] for t in timings} == {row["inference_ms"] for row in table}
    assert {t["environment"]["processor"] for t in timings} == {row["timing_processor"] for row in table}


def test_a_run_folder_is_complete(tiny: Any, table: list[dict[str, Any]]) -> None:
    for row in table:
        names = {path.name for path in (tiny.results / "runs" / row["run_id"]).iterdir()}
        assert names >= {"spec.json", "result.json", "history.parquet", "log.txt", "weights.safetensors"}
        assert "predictions.safetensors" in names
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


def printed_report(result: Any) -> str:
    """What a command printed from the accuracy table to the path of the report."""
    assert result.out.count("Accuracy  ") == 1
    end = "report.md\n"
    return str(result.out[result.out.index("Accuracy  ") : result.out.rindex(end) + len(end)])


SPEED = r"on 1 worker, \d+ % busy; one at a time without sharing: about \d+ s"


def test_the_last_line_has_the_wall_time_the_busy_share_and_the_time_without_sharing(tiny: Any) -> None:
    assert re.fullmatch(rf"{RUNS} runs in \d+ s {SPEED}", tiny.result.out.splitlines()[-1])


def test_the_head_of_the_report_has_the_same(tiny: Any) -> None:
    line = tiny.result.out.splitlines()[-1]
    assert f"- training: {line}\n" in (tiny.reports / "tiny" / "report.md").read_text()


def test_the_session_is_recorded(tiny: Any) -> None:
    (session,) = read_sessions(tiny.results / "sessions")
    assert (session.matrix, session.slots, len(session.done), session.failed) == ("tiny", 1, RUNS, ())
    assert (session.has_ended, session.is_interrupted) == (True, False)
    assert set(session.epochs.values()) == {2}


def test_a_finished_matrix_adds_no_session(copied: Any, invoke: Callable[..., Any]) -> None:
    before = sorted((copied.results / "sessions").iterdir())
    report = (copied.reports / "tiny" / "report.md").read_text()
    invoke("run", "tiny.toml")
    assert sorted((copied.results / "sessions").iterdir()) == before
    assert (copied.reports / "tiny" / "report.md").read_text() == report
    copied.matrix.write_text(copied.matrix.read_text().replace("[methods.vanilla]", '[methods.kd]\nmethod = "vanilla"'))
    assert invoke("run", "tiny.toml").out.endswith("report.md\n"), "planned again, but nothing trained"
    assert sorted((copied.results / "sessions").iterdir()) == before


@pytest.mark.slow
def test_a_second_command_counts_what_it_trained_and_the_report_counts_both(
    copied: Any, invoke: Callable[..., Any]
) -> None:
    Store(copied.results).clear_result(copied.run_of("vanilla"))
    result = invoke("run", "tiny.toml")
    assert re.fullmatch(
        rf"1 run in \d+ s {SPEED}; {RUNS - 1} other runs trained by other commands", result.out.splitlines()[-1]
    )
    text = (copied.reports / "tiny" / "report.md").read_text()
    assert re.search(rf"- training: {RUNS} runs in \d+ s \(2 commands\) {SPEED}\n", text)


def test_a_finished_matrix_prints_its_table_and_imports_no_torch(
    copied: Any, modules_after: Callable[..., set[str]], invoke: Callable[..., Any]
) -> None:
    before = finished(copied.results)
    shutil.rmtree(copied.reports)
    result = invoke("run", "tiny.toml")
    first = f"{RUNS} runs of tiny finished before; nothing to train\n"
    assert (result.status, result.out) == (0, first + printed_report(copied.result))
    assert result.out.endswith("\nreport: reports/tiny/report.md\n")
    assert (copied.reports / "tiny" / "report.md").exists()
    assert not modules_after("run", "tiny.toml") & {"torch", "optuna"}
    assert finished(copied.results) == before


@pytest.mark.slow
@pytest.mark.parametrize("change", [{"processor": "another"}, {"torch_version": "2.7.1"}], ids=["processor", "torch"])
def test_networks_that_were_timed_elsewhere_are_timed_again(
    copied: Any, invoke: Callable[..., Any], change: dict[str, str]
) -> None:
    """The same folder on another machine, or after an upgrade: the times of all rows are those of one environment."""
    folder = copied.results / "timings"
    for timing in read_timings(folder):
        (folder / f"{timing.key}.json").unlink()
        write_timing(folder, replace(timing, environment=replace(timing.environment, **change), measured="2025-01-01"))
    before = finished(copied.results)
    result = invoke("run", "tiny.toml")
    assert (result.status, "timing the inference of mlp_16" in result.out) == (0, True)
    assert finished(copied.results) == before
    assert len(read_timings(folder)) == 4
    rows = kdbench.load_results(copied.results)
    assert set(rows["timing_processor"]) == {cpu_model()}
    assert "2.7.1" not in set(rows["timing_torch_version"])
    assert invoke("run", "tiny.toml").out.startswith(f"{RUNS} runs of tiny finished before; nothing to train\n")


def test_the_report_is_made_of_the_rows_that_are_in_memory(
    copied: Any, invoke: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    matrix = copied.matrix.read_text(encoding="utf-8").replace("seeds = [0, 1]", "seeds = [0, 1, 2]")
    copied.matrix.write_text(matrix, encoding="utf-8")
    calls: list[Store] = []

    def read(store: Store, matrix: str | None = None) -> list[dict[str, Any]]:
        calls.append(store)
        return read_rows(store, matrix)

    monkeypatch.setattr("kdbench.results.table.read_rows", read)
    result = invoke("run", "tiny.toml")
    assert result.status == 0
    assert len(calls) == 1  # for the tables of the results folder
    assert f"- runs: {RUNS + 4} done," in (copied.reports / "tiny" / "report.md").read_text(encoding="utf-8")


def test_workers_start_before_the_plan_and_an_error_in_it_leaves_none(
    tiny: Any, tmp_path: Path, invoke: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = tiny.matrix.read_text(encoding="utf-8")
    (tmp_path / "bad.toml").write_text(text.replace("mlp_16", "no_such_network"), encoding="utf-8")
    during: list[str] = []

    def plan(matrix: MatrixSpec) -> Plan:
        deadline = time.monotonic() + 5
        while not during and time.monotonic() < deadline:  # a new process has its command line some time after its id
            during.extend(processes_in(tmp_path))
        return make_plan(matrix)

    monkeypatch.setattr("kdbench.plan.make_plan", plan)
    result = invoke("run", "bad.toml", "--results", tmp_path / "results")
    assert result.status == 1
    assert result.error.startswith("bad.toml: pairs: unknown network 'no_such_network'")
    assert len(during) == 1
    assert processes_in(tmp_path) == []
    assert list((tmp_path / "results" / "workers").iterdir()) == []


def test_quiet_prints_neither_table_nor_path(copied: Any, invoke: Callable[..., Any]) -> None:
    shutil.rmtree(copied.reports)
    assert invoke("run", "tiny.toml", "--quiet").out == f"{RUNS} runs of tiny finished before; nothing to train\n"
    assert (copied.reports / "tiny" / "report.md").exists()


@pytest.mark.slow
def test_a_closed_pipe_loses_neither_runs_nor_report(copied: Any) -> None:
    copied.matrix.write_text(copied.matrix.read_text().replace("[run]", "[methods.logit_mse]\n[run]"))
    shutil.rmtree(copied.reports)
    pipeline = f"{shlex.quote(sys.executable)} -m kdbench run tiny.toml | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", pipeline], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "planning tiny.toml\n", "")
    assert {row["status"] for row in copied.rows()} == {"done"}
    assert len(copied.rows()) == RUNS + 2
    assert "logit_mse" in (copied.reports / "tiny" / "report.md").read_text()


def test_another_label_trains_nothing(copied: Any, invoke: Callable[..., Any]) -> None:
    before = finished(copied.results)
    text = copied.matrix.read_text().replace("[methods.vanilla]\n", '[methods.HKD]\nmethod = "vanilla"\n')
    copied.matrix.write_text(text)
    result = invoke("run", "tiny.toml")
    assert f"{RUNS} runs, {RUNS} already finished" in result.out
    assert "training" not in result.out
    assert "HKD" in result.out
    assert finished(copied.results) == before
    labels = {row["label"] for row in pq.read_table(copied.results / "results.parquet").to_pylist()}
    assert labels == {"teacher", "scratch", "HKD", "vanilla + rkd_da"}


def test_a_run_of_two_matrices_is_in_both(copied: Any, invoke: Callable[..., Any]) -> None:
    copied.matrix.write_text(copied.matrix.read_text().replace('name = "tiny"', 'name = "twin"'))
    assert invoke("run", "tiny.toml").status == 0
    rows = pq.read_table(copied.results / "results.parquet").to_pylist()
    assert {row["matrix"] for row in rows} == {"tiny; twin"}
    assert json.loads(invoke("status", "--json").out)["twin"]["done"] == RUNS


@pytest.fixture(scope="module")
def extended(
    tiny: Any, tmp_path_factory: pytest.TempPathFactory, invoke: Callable[..., Any], in_folder: Callable[..., Any]
) -> tuple[Any, Any, Path]:
    """The small matrix with a method more, and with two of the user's own that fail: copied, run, what it result."""
    folder = tmp_path_factory.mktemp("extended")
    shutil.copytree(tiny.folder, folder, dirs_exist_ok=True)
    (folder / "custom_methods.py").write_text(CUSTOM_METHODS)
    added = '[methods.logit_mse]\n[methods."custom_methods:NotBuilt"]\n[methods."custom_methods:NoSteps"]\n'
    (folder / "tiny.toml").write_text((folder / "tiny.toml").read_text().replace("[run]", f"{added}[run]"))
    before = finished(folder / "results")
    with in_folder(folder):
        return before, invoke("run", "tiny.toml"), folder


@pytest.mark.slow
def test_only_new_runs_are_trained(extended: tuple[Any, Any, Path]) -> None:
    before, result, folder = extended
    after = finished(folder / "results")
    assert {run: when for run, when in after.items() if run in before} == before
    assert len(after) == RUNS + 2 * 3
    assert f"{RUNS + 6} runs, {RUNS} already finished" in result.out


@pytest.mark.slow
def test_other_runs_finish_if_a_custom_method_fails(extended: tuple[Any, Any, Path]) -> None:
    _, result, folder = extended
    assert result.status == 2
    rows = pq.read_table(folder / "results" / "results.parquet").to_pylist()
    ended = {(row["label"], row["status"], row["error"]) for row in rows if row["label"] not in ("vanilla", "teacher")}
    assert ended == {
        ("scratch", "done", None),
        ("vanilla + rkd_da", "done", None),
        ("logit_mse", "done", None),
        ("custom_methods:NotBuilt", "failed", "ValueError: no such layer"),
        ("custom_methods:NoSteps", "failed", "RuntimeError: the bank is empty"),
    }


@pytest.mark.slow
def test_a_failure_is_printed_and_its_traceback_logged(extended: tuple[Any, Any, Path]) -> None:
    _, result, folder = extended
    assert result.out.count("RuntimeError: the bank is empty") >= 2
    assert "Traceback" not in result.out + result.err
    logs = [path.read_text() for path in folder.glob("results/runs/*/log.txt")]
    assert sum("Traceback" in log and "custom_methods.py" in log for log in logs) == 4
    report = (folder / "reports" / "tiny" / "report.md").read_text()
    assert f"- runs: {RUNS + 2} done, 4 failed, 0 running, 0 pending" in report


@pytest.mark.slow
def test_failed_runs_are_not_trained_again(
    extended: tuple[Any, Any, Path], invoke: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, folder = extended
    monkeypatch.chdir(folder)
    before = finished(folder / "results")
    result = invoke("run", "tiny.toml")
    assert result.status == 2
    assert "training" not in result.out
    assert finished(folder / "results") == before


def test_runs_blocked_by_a_failed_teacher_are_counted(copied: Any, invoke: Callable[..., Any]) -> None:
    store = Store(copied.results)
    rows = pq.read_table(copied.results / "results.parquet").to_pylist()
    (teacher,) = [row["run_id"] for row in rows if row["label"] == "teacher"]
    store.write_result(teacher, {"status": "failed", "error": "out of memory", "row": {}})
    for row in rows:
        if row["teacher"] is not None:
            store.clear_result(row["run_id"])
    result = invoke("run", "tiny.toml")
    assert result.status == 2
    assert "training" not in result.out
    assert (
        f"\nfailed: teacher, seed 0 ({teacher[:8]}): out of memory\n6 runs are blocked by a failed run\n" in result.out
    )
    assert result.out.endswith("\nto train them again: kdbench retry tiny && kdbench run tiny.toml\n")


def test_an_exclude_that_matches_nothing_is_a_warning(copied: Any, invoke: Callable[..., Any]) -> None:
    copied.matrix.write_text(copied.matrix.read_text() + '[[exclude]]\nmethod = "fitnets"\n')
    result = invoke("run", "tiny.toml")
    assert result.status == 0
    assert "warning: tiny.toml: exclude[0]: has no effect" in result.out
    assert "report: reports/tiny/report.md" in result.out
