"""Corrupted runs are moved, never deleted, and wait again."""

from collections.abc import Callable
from pathlib import Path

import pytest

from kdbench.errors import ResultsError
from kdbench.matrix import RunSpec
from kdbench.results import Store

Finished = Callable[[Store, RunSpec], None]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_quarantined_run_waits_again(store: Store, teacher: RunSpec, finished: Finished) -> None:
    finished(store, teacher)
    store.log(teacher.id, "done")
    before = {path.name: path.read_bytes() for path in store.folder(teacher.id).iterdir() if path.name != "lock"}
    aside = store.quarantine(teacher.id, "its weights are gone")
    assert aside == store.root / "quarantine" / f"{teacher.id}-1"
    found = {path.name: path.read_bytes() for path in aside.iterdir()}
    assert found.pop("why.txt") == b"its weights are gone\n"
    assert found == before
    assert names(store.folder(teacher.id)) == {"lock", "log.txt"}
    assert store.state(teacher.id) == "pending"
    assert f"what was here is in {aside}: its weights are gone" in (store.folder(teacher.id) / "log.txt").read_text()


def test_each_quarantine_has_a_place_of_its_own(store: Store, teacher: RunSpec, finished: Finished) -> None:
    places = []
    for _ in range(3):
        finished(store, teacher)
        places.append(store.quarantine(teacher.id, "again").name)
    assert places == [f"{teacher.id}-{number}" for number in (1, 2, 3)]


def test_nobody_moves_what_another_holds(store: Store, teacher: RunSpec, finished: Finished) -> None:
    finished(store, teacher)
    (store.folder(teacher.id) / "weights.safetensors").unlink()
    with store.claimed(teacher.id) as mine:
        assert mine
        with pytest.raises(ResultsError, match=f"{teacher.id}: another process holds this run"):
            store.quarantine(teacher.id, "x")
        assert list(store.quarantine_corrupted([teacher.id])) == []
    assert store.state(teacher.id) == "done"
    assert not (store.root / "quarantine").exists()
    assert [run for run, _ in store.quarantine_corrupted([teacher.id])] == [teacher.id]
    with store.claimed(teacher.id) as mine:
        assert mine, "the quarantine let the lock go"


def test_only_the_corrupted_are_moved(store: Store, student: Callable[..., RunSpec], finished: Finished) -> None:
    runs = [student(seed) for seed in range(3)]
    for run in runs:
        finished(store, run)
    path = store.folder(runs[1].id) / "history.parquet"
    path.write_bytes(b"")
    ((run, why),) = store.quarantine_corrupted([run.id for run in runs])
    aside = store.root / "quarantine" / f"{runs[1].id}-1"
    assert run == runs[1].id
    assert why.startswith("corrupted: history.parquet has 0 bytes and was written with ")
    assert why.endswith(f"; moved to {aside}, and the run waits again")
    assert [store.state(run.id) for run in runs] == ["done", "pending", "done"]


def test_a_run_that_was_repeated_meanwhile_stays(
    store: Store, teacher: RunSpec, finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two coordinators see the damage; when the second gets the lock, the first has trained the run again."""
    finished(store, teacher)
    seen = iter(["history.parquet is missing", None])
    monkeypatch.setattr(Store, "corruption", lambda *_: next(seen))
    assert list(store.quarantine_corrupted([teacher.id])) == []
    assert store.state(teacher.id) == "done"
