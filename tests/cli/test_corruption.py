"""What the commands do about corrupted files, on the results of the small matrix."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdbench.results import Store, checkpoints


def test_no_run_is_corrupted(tiny: Any) -> None:
    store = Store(tiny.results, create=False)
    assert len(store.run_ids()) == 9
    assert [store.corruption(run, deep=True) for run in store.run_ids()] == [None] * 9


@pytest.mark.slow
def test_run_trains_corrupted_runs_again_with_the_same_numbers(copied: Any, invoke: Callable[..., Any]) -> None:
    expected, runs = copied.scores(), Store(copied.results).run_ids()
    names = ("weights.safetensors", "history.parquet", "predictions.safetensors", "result.json", "spec.json")
    corrupted = dict(zip(runs, names, strict=False))
    for run, name in corrupted.items():
        path = copied.results / "runs" / run / name
        if name == "spec.json":
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:-5])
    result = invoke("run", "tiny.toml")
    assert result.status == 0
    for run, name in corrupted.items():
        assert f"warning: {run}: corrupted: {name} " in result.out
        assert (copied.results / "quarantine" / f"{run}-1" / "why.txt").read_text().startswith(name)
    assert copied.scores() == expected
    assert invoke("run", "tiny.toml").out.startswith("9 runs of tiny finished before; nothing to train\n")


def test_run_rewrites_a_corrupted_matrix_file(copied: Any, invoke: Callable[..., Any]) -> None:
    path = copied.results / "matrices" / "tiny.json"
    path.write_text("{")
    result = invoke("run", "tiny.toml")
    assert "warning: results/matrices/tiny.json: corrupted (" in result.out
    assert json.loads(path.read_text())["name"] == "tiny"


def test_the_check_for_corruption_is_fast(copied: Any) -> None:
    store = Store(copied.results)
    index = store.index("tiny")
    assert index is not None
    begin = time.perf_counter()
    for _ in range(20):
        assert store.is_complete(index)
    assert time.perf_counter() - begin < 2, "180 runs took more than 2 s"


def test_report_works_on_a_folder_that_cannot_be_written(copied: Any, invoke: Callable[..., Any]) -> None:
    (copied.results / "export.lock").unlink(missing_ok=True)
    (copied.results / "export.lock").mkdir()  # as root may write anywhere, the lock is what cannot be made
    before = (copied.results / "results.parquet").read_bytes()
    result = invoke("report")
    assert result.status == 0
    lock = copied.results / "export.lock"
    note = f"note: results.parquet and history.parquet were not updated: {lock}: cannot be written (Is a directory)"
    assert note in result.out
    assert "report: reports/tiny/report.md" in result.out
    assert (copied.results / "results.parquet").read_bytes() == before


def test_report_prints_a_corrupted_matrix_file(copied: Any, invoke: Callable[..., Any]) -> None:
    (copied.results / "matrices" / "other.json").write_text("[]")
    result = invoke("report")
    assert result.status == 0
    assert "note: results/matrices/other.json: corrupted (" in result.out
    assert "report: reports/tiny/report.md" in result.out


def test_doctor_prints_corrupted_runs_and_leftovers(copied: Any, invoke: Callable[..., Any]) -> None:
    store, run = Store(copied.results), copied.run_of("vanilla")
    invoke("clean")
    checkpoints.write(store.folder(run), 1, b"state", {})
    assert "1 file, " in invoke("doctor").out
    (store.folder(run) / "history.parquet").unlink()
    result = invoke("doctor")
    assert result.status == 1
    assert "history.parquet is missing" in result.out


def test_every_command_refuses_a_corrupted_kdbench_json(copied: Any, invoke: Callable[..., Any]) -> None:
    (copied.results / "kdbench.json").write_text("{")
    for command in (["status"], ["report"], ["reindex"], ["clean"], ["run", "tiny.toml"]):
        result = invoke(*command)
        assert result.status == 1
        assert result.error.startswith("results/kdbench.json: corrupted (")
        assert result.error.endswith("""; restore it with: echo '{"format": 2, "threads": 1}' > results/kdbench.json""")


@pytest.mark.slow
def test_a_teacher_with_changed_content_is_trained_again_before_its_student(
    copied: Any, invoke: Callable[..., Any], flip_bit: Callable[[Path], None]
) -> None:
    """The size is unchanged; the checksum is verified when the worker of a student loads the teacher."""
    store, expected = Store(copied.results), copied.scores()
    teacher, student = copied.run_of("teacher"), copied.run_of("vanilla")
    flip_bit(store.folder(teacher) / "weights.safetensors")
    store.clear_result(student)
    result = invoke("run", "tiny.toml")
    assert result.status == 0
    assert f"the run {teacher} is corrupted: weights.safetensors does not match its checksum" in result.out
    assert (store.root / "quarantine" / f"{teacher}-1" / "weights.safetensors").exists()
    assert store.corruption(teacher, deep=True) is None
    assert copied.scores() == expected
