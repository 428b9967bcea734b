"""What is left over, and what only looks so."""

import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kdbench.matrix import RunSpec
from kdbench.results import Store, checkpoints
from kdbench.results.leftovers import MIN_AGE, find, remove


@pytest.fixture(scope="module")
def dead() -> int:
    """The id of an ended process."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait(timeout=60)
    return process.pid


def aged(path: Path, content: bytes = b"12345") -> Path:
    """A file that has not been changed for a while."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    before = time.time() - 2 * MIN_AGE
    os.utime(path, (before, before))
    return path


def found(store: Store) -> dict[Path, str]:
    return {leftover.path: leftover.kind for leftover in find(store)}


def test_an_intact_folder_has_none(store: Store, teacher: RunSpec, finished: Callable[..., None]) -> None:
    finished(store, teacher)
    store.log(teacher.id, "done")
    assert found(store) == {}


def test_files_of_crashed_processes(store: Store, teacher: RunSpec, dead: int, finished: Callable[..., None]) -> None:
    finished(store, teacher)
    folder = store.folder(teacher.id)
    names = (".result.json.7.tmp", ".predictions.safetensors.7.tmp", *checkpoints.NAMES)
    *partial, newest, previous = (folder / name for name in names)
    for path in (*partial, newest, previous):
        path.write_bytes(b"12345")
    elsewhere = [aged(store.root / name) for name in (f".results.parquet.{dead}.tmp", f"matrices/.m.json.{dead}.tmp")]
    probe = aged(store.root / f".probe.{dead}", b"")
    log = aged(store.root / "workers" / f"{platform.node()}-{dead}-1.log")
    expected = {
        **dict.fromkeys(partial, "partial file"),
        **dict.fromkeys((newest, previous), "checkpoint of a finished run"),
        **dict.fromkeys(elsewhere, "partial file"),
        probe: "probe",
        log: "log of an ended worker",
    }
    assert found(store) == expected
    before = {path for path in store.root.rglob("*") if path.is_file()}
    leftovers = list(find(store))
    assert sum(leftover.bytes for leftover in leftovers) == 5 * (len(expected) - 1)
    assert all(remove(store, leftover) for leftover in leftovers)
    lock = folder / "lock"
    assert {path for path in store.root.rglob("*") if path.is_file()} == (before - expected.keys()) | {lock}
    assert store.corruption(teacher.id, deep=True) is None


def test_the_checkpoint_of_a_pending_run_is_kept(store: Store, teacher: RunSpec) -> None:
    checkpoints.write(store.folder(teacher.id), 3, b"state", {})
    assert found(store) == {}
    store.write_result(teacher.id, {"status": "failed", "error": "NaN"})
    checkpoints.write(store.folder(teacher.id), 3, b"state", {})
    assert set(found(store).values()) == {"checkpoint of a finished run"}


def test_files_of_running_processes_are_kept(
    store: Store, teacher: RunSpec, dead: int, finished: Callable[..., None]
) -> None:
    finished(store, teacher)
    partial = store.folder(teacher.id) / f".weights.safetensors.{dead}.tmp"
    partial.write_bytes(b"1")
    (leftover,) = find(store)
    own = [aged(store.root / name) for name in (f".a.{os.getpid()}.tmp", f".probe.{os.getpid()}")]
    log = aged(store.root / "workers" / f"{platform.node()}-{os.getpid()}-1.log")
    foreign = aged(store.root / "workers" / f"another-host-{dead}-1.log")
    young = store.root / f".results.parquet.{dead}.tmp"
    young.write_bytes(b"1")
    with store.claimed(teacher.id):
        assert found(store) == {}
        assert not remove(store, leftover)
    assert all(path.exists() for path in (partial, *own, log, foreign, young))
    assert set(found(store)) == {partial}


def test_an_unfinished_copy(store: Store, dead: int) -> None:
    copy = store.root / f".0123.{dead}.tmp"
    aged(copy / "weights.safetensors")
    before = time.time() - 2 * MIN_AGE
    os.utime(copy, (before, before))
    (leftover,) = find(store)
    assert (leftover.path, leftover.kind, leftover.bytes) == (copy, "partial file", 5)
    assert remove(store, leftover)
    assert not copy.exists()
