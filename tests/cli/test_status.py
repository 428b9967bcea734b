"""`status`."""

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from kdbench.results import Store, checkpoints
from kdbench.results.processes import pid_space
from kdbench.results.sessions import Session, WorkerActivity, write_session


def test_the_states_are_counted(tiny: Any, invoke: Callable[..., Any]) -> None:
    counts = {"runs": 9, "done": 9, "failed": 0, "running": 0, "pending": 0, "incompatible": 2}
    found = invoke("status", "--results", tiny.results, "--json").json
    assert found == {"tiny": {**counts, "undecided": 0, "attempts": {}, "corrupted": {}, "sessions": []}}
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
    assert counts == {**expected, "attempts": {scratch: 1}, "corrupted": {}, "sessions": []}


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
    assert list(found["tiny"]) == ["error", "sessions"]
    assert found["tiny"]["error"].endswith("; run the matrix again to rewrite the file")


def write_running_session(results: Path, **changes: Any) -> None:
    """Write the session of a command that runs in this process."""
    now = datetime.now(UTC)
    task = "mlp_16 on digits, seed 0 (2 runs: vanilla)"
    values = {"matrix": "tiny", "host": "gpu-1", "pid": os.getpid(), "pid_space": pid_space(), "slots": 3}
    times = {"started": now, "updated": now, "wall_seconds": 100.0, "busy_seconds": 80.0, "seconds_left": 3700.0}
    workers = (
        WorkerActivity(1, "training", 60.0, task, ("a", "b"), 3, 10, 75.0, 1.2345, 0.9876),
        WorkerActivity(2, "idle", 12.0),
        WorkerActivity(3, "starting", 1.0, "cnn_8_16 on digits, seed 1 (scratch)", ("c",)),
    )
    session = Session(**{**values, **times, "workers": workers, **changes})
    write_session(results / "sessions" / f"{len(list(results.glob('sessions/*')))}.json", session)


def test_a_running_command_is_printed_with_its_workers(
    copied: Any, invoke: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Session, "age", 0.0)
    write_running_session(copied.results)
    lines = invoke("status").out.splitlines()
    start = lines.index(f"tiny: running for 1 min 40 s, about 1 h 01 min left; process {os.getpid()} on gpu-1")
    assert lines[start + 1 : start + 4] == [
        "  worker 1: mlp_16 on digits, seed 0 (2 runs: vanilla), epoch 3/10, 1 min 15 s left, loss 1.234, "
        "best validation accuracy 0.988",
        "  worker 3: cnn_8_16 on digits, seed 1 (scratch), starting",
        "  worker 2 idle for 12 s",
    ]


def test_the_json_of_a_running_command(copied: Any, invoke: Callable[..., Any]) -> None:
    write_running_session(copied.results)
    (session,) = invoke("status", "--json").json["tiny"]["sessions"]
    assert {name: session[name] for name in ("host", "pid", "slots")} == {
        "host": "gpu-1",
        "pid": os.getpid(),
        "slots": 3,
    }
    assert session["wall_seconds"] == pytest.approx(100, abs=20)
    assert session["seconds_left"] == pytest.approx(3700, abs=20)
    first, second, _ = session["workers"]
    assert (first["worker"], first["state"], first["runs"], first["epoch"]) == (1, "training", ["a", "b"], 3)
    assert (second["state"], second["seconds"]) == ("idle", pytest.approx(12, abs=20))


def test_a_command_that_is_gone_is_not_printed(copied: Any, invoke: Callable[..., Any]) -> None:
    before = invoke("status").out
    write_running_session(copied.results, updated=datetime.now(UTC) - timedelta(minutes=5))
    write_running_session(copied.results, has_ended=True)
    assert invoke("status").out == before
    assert invoke("status", "--json").json["tiny"]["sessions"] == []


def test_commands_on_one_folder_are_printed_one_by_one(copied: Any, invoke: Callable[..., Any]) -> None:
    for host in ("gpu-1", "gpu-2"):
        write_running_session(copied.results, host=host)
    assert sum("process" in line for line in invoke("status").out.splitlines()) == 2


def test_a_matrix_that_is_planned_for_the_first_time(
    invoke: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Session, "age", 0.0)
    store = Store(tmp_path / "results")
    write_running_session(store.root, workers=(), slots=0, seconds_left=None)
    assert invoke("status").out == f"tiny: planning for 1 min 40 s; process {os.getpid()} on gpu-1\n"


def test_a_corrupted_session_is_printed(copied: Any, invoke: Callable[..., Any]) -> None:
    (copied.results / "sessions" / "bad.json").write_text("{")
    line = next(line for line in invoke("status").out.splitlines() if "bad.json" in line)
    assert line.endswith("; left out of the wall time in reports; delete the file")


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
