"""Corrupted runs are moved, never deleted, and pending again."""

from collections.abc import Callable
from pathlib import Path

import pytest

from kdbench.errors import ResultsError
from kdbench.matrix import RunSpec
from kdbench.results import Store

Finished = Callable[[Store, RunSpec], None]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_quarantined_run_is_pending_again(store: Store, teacher: RunSpec, finished: Finished) -> None:
    finished(store, teacher)
    store.log(teacher.id, "done")
    before = {path.name: path.read_bytes() for path in store.folder(teacher.id).iterdir() if path.name != "lock"}
    target = store.quarantine(teacher.id, "its weights are gone")
    assert target == store.root / "quarantine" / f"{teacher.id}-1"
    found = {path.name: path.read_bytes() for path in target.iterdir()}
    assert found.pop("why.txt") == b"its weights are gone\n"
    assert found == before
    assert names(store.folder(teacher.id)) == {"lock", "log.txt"}
    assert store.state(teacher.id) == "pending"
    log = (store.folder(teacher.id) / "log.txt").read_text()
    assert f"moved the earlier files to {target}: its weights are gone" in log


def test_each_quarantined_run_has_its_own_folder(store: Store, teacher: RunSpec, finished: Finished) -> None:
    folders = []
    for _ in range(3):
        finished(store, teacher)
        folders.append(store.quarantine(teacher.id, "again").name)
    assert folders == [f"{teacher.id}-{number}" for number in (1, 2, 3)]


def test_a_run_that_another_process_locked_is_not_moved(store: Store, teacher: RunSpec, finished: Finished) -> None:
    finished(store, teacher)
    (store.folder(teacher.id) / "weights.safetensors").unlink()
    with store.claimed(teacher.id) as is_claimed:
        assert is_claimed
        with pytest.raises(ResultsError, match=f"{teacher.id}: another process has locked this run"):
            store.quarantine(teacher.id, "x")
        assert list(store.quarantine_corrupted([teacher.id])) == []
    assert store.state(teacher.id) == "done"
    assert not (store.root / "quarantine").exists()
    assert [run for run, _ in store.quarantine_corrupted([teacher.id])] == [teacher.id]
    with store.claimed(teacher.id) as is_claimed:
        assert is_claimed, "the quarantine released the lock"


@pytest.mark.parametrize("name", ["history.parquet", "predictions.safetensors"])
def test_only_corrupted_runs_are_moved(
    store: Store, student: Callable[..., RunSpec], finished: Finished, name: str
) -> None:
    runs = [student(seed) for seed in range(3)]
    for run in runs:
        finished(store, run)
    path = store.folder(runs[1].id) / name
    path.write_bytes(b"")
    ((run, why),) = store.quarantine_corrupted([run.id for run in runs])
    target = store.root / "quarantine" / f"{runs[1].id}-1"
    assert run == runs[1].id
    assert why.startswith(f"corrupted: {name} has 0 bytes, expected ")
    assert why.endswith(f"; moved to {target}; the run is pending again")
    assert [store.state(run.id) for run in runs] == ["done", "pending", "done"]


def test_a_run_that_was_retrained_in_the_meantime_is_kept(
    store: Store, teacher: RunSpec, finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes find the corruption; when the second gets the lock, the first has retrained the run."""
    finished(store, teacher)
    corruptions = iter(["history.parquet is missing", None])
    monkeypatch.setattr(Store, "corruption", lambda *_: next(corruptions))
    assert list(store.quarantine_corrupted([teacher.id])) == []
    assert store.state(teacher.id) == "done"
