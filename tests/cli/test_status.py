"""`status`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdbench.results import Store, checkpoints


def test_the_states_are_counted(tiny: Any, invoke: Callable[..., Any]) -> None:
    counts = {"runs": 9, "done": 9, "failed": 0, "running": 0, "pending": 0, "incompatible": 2}
    found = invoke("status", "--results", tiny.results, "--json").json
    assert found == {"tiny": {**counts, "undecided": 0, "attempts": {}, "corrupted": {}}}
    words = [line.split() for line in invoke("status", "--results", tiny.results).out.splitlines()]
    assert ["tiny", *map(str, counts.values())] in words


def test_failed_pending_and_running_runs_are_counted(copied: Any, invoke: Callable[..., Any]) -> None:
    store = Store(copied.results)
    teacher, scratch, first = (copied.run_of(label) for label in ("teacher", "scratch", "vanilla"))
    store.write_result(teacher, {"status": "failed", "error": "out of memory"})
    store.clear_result(scratch)
    store.clear_result(first)
    with store.lock(first):
        counts = invoke("status", "--json").json["tiny"]
    expected = {"runs": 9, "done": 6, "failed": 1, "running": 1, "pending": 1, "incompatible": 2, "undecided": 0}
    assert counts == {**expected, "attempts": {scratch: 1}, "corrupted": {}}


def test_the_attempts_of_runs_whose_process_died_are_printed(copied: Any, invoke: Callable[..., Any]) -> None:
    store, run = Store(copied.results), copied.run_of("vanilla")
    store.clear_result(run)
    checkpoints.write(store.folder(run), 7, b"state", {})
    store.begin_attempt(run)
    assert (
        f"pending: vanilla, seed 0 ({run[:8]}): started twice, resumes at epoch 8" in invoke("status").out.splitlines()
    )
    assert invoke("status", "--json").json["tiny"]["attempts"] == {run: 2}
    scratch = copied.run_of("scratch")
    store.clear_result(scratch)
    assert (
        f"pending: scratch, seed 0 ({scratch[:8]}): started once, restarts at epoch 1"
        in invoke("status").out.splitlines()
    )


def test_a_corrupted_run_is_printed(copied: Any, invoke: Callable[..., Any]) -> None:
    run = copied.run_of("vanilla")
    file = copied.results / "runs" / run / "weights.safetensors"
    size = file.stat().st_size
    file.write_bytes(b"half")
    reason = f"weights.safetensors has 4 bytes, expected {size}"
    assert f"corrupted: {run}: {reason}; `kdbench run` trains it again" in invoke("status").out.splitlines()
    assert invoke("status", "--json").json["tiny"]["corrupted"] == {run: reason}
    assert file.exists(), "status only reads"


def test_a_corrupted_matrix_file_and_timing_are_printed(copied: Any, invoke: Callable[..., Any]) -> None:
    path = copied.results / "matrices" / "tiny.json"
    path.write_text('{"name"')
    timing = next((copied.results / "timings").glob("*.json"))
    timing.write_text("")
    result = invoke("status").out
    assert "results/matrices/tiny.json: corrupted (" in result
    assert f"results/timings/{timing.name}: corrupted; run the matrix again to time the network again" in result
    found = invoke("status", "--json").json
    assert list(found["tiny"]) == ["error"]
    assert found["tiny"]["error"].endswith("; run the matrix again to rewrite the file")


def test_nothing_is_written(copied: Any, invoke: Callable[..., Any]) -> None:
    def content() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in copied.results.rglob("*")}

    before = content()
    assert invoke("status").status == 0
    assert content() == before


def test_watching_ends_with_ctrl_c(tiny: Any, invoke: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    sleeps = []

    def sleep(seconds: float) -> None:
        sleeps.append(seconds)
        if len(sleeps) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("kdbench.cli.status.time.sleep", sleep)
    result = invoke("status", "--watch", "--results", tiny.results)
    assert (result.status, result.err, sleeps) == (0, "", [2.0, 2.0, 2.0])
    assert "tiny" in result.out


def test_watch_and_json_cannot_be_combined(tiny: Any, invoke: Callable[..., Any]) -> None:
    result = invoke("status", "--watch", "--json", "--results", tiny.results)
    assert (result.status, result.error) == (1, "--watch and --json cannot be combined; choose one")


def test_torch_and_pandas_are_not_imported(tiny: Any, modules_after: Callable[..., set[str]]) -> None:
    assert not modules_after("status", "--results", tiny.results) & {"torch", "pandas", "optuna"}


def test_a_folder_without_matrices(invoke: Callable[..., Any], tmp_path: Path) -> None:
    Store(tmp_path / "results")
    assert invoke("status").out == "results: no matrix has been run; start one with `kdbench run MATRIX`\n"
    assert invoke("status", "--json").json == {}


def test_a_missing_folder_is_an_error_and_not_created(invoke: Callable[..., Any], tmp_path: Path) -> None:
    result = invoke("status", "--results", "nowhere")
    assert result.status == 1
    assert result.error == "nowhere: results folder not found; `kdbench run MATRIX` creates it"
    assert list(tmp_path.iterdir()) == []
