"""Merging two results folders."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from timings import HERE, add_timing

from kdbench.errors import ResultsError, StorageError
from kdbench.matrix import RunSpec
from kdbench.results import MatrixIndex, Store, checkpoints
from kdbench.results.merge import merge
from kdbench.results.predictions import read_predictions
from kdbench.results.timings import read_timings

Finished = Callable[..., None]
Student = Callable[..., RunSpec]


@pytest.fixture
def other(tmp_path: Path) -> Store:
    """The source folder."""
    return Store(tmp_path / "other")


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_missing_runs_are_copied(
    store: Store, other: Store, student: Student, finished: Finished, index: Callable[..., MatrixIndex]
) -> None:
    runs = [student(seed) for seed in range(3)]
    finished(store, runs[0])
    finished(other, runs[1])
    other.log(runs[1].id, "done")
    other.write_spec(runs[2])
    other.write_index(index(*runs))
    timing = add_timing(other.timings, "cnn")
    before = content(other.root)
    merged = merge(store, other)
    assert (merged.runs, merged.matrices, merged.timings, merged.notes) == ([runs[1].id], ["thesis"], [timing.key], [])
    assert [store.state(run.id) for run in runs] == ["done", "done", "pending"]
    assert store.corruption(runs[1].id, deep=True) is None
    assert (store.folder(runs[1].id) / "log.txt").read_text().endswith(" done\n")
    assert (store.index("thesis"), read_timings(store.timings)) == (index(*runs), [timing])
    assert content(other.root) == before, "merge changed the source folder"
    assert not list(store.root.glob(".*.tmp"))
    again = merge(store, other)
    assert (again.runs, again.matrices, again.timings, again.notes) == ([], [], [], [])


def test_timings_of_two_machines_are_kept_both(store: Store, other: Store) -> None:
    ours = add_timing(store.timings, "cnn")
    theirs = add_timing(other.timings, "cnn", replace(HERE, processor="another"))
    assert merge(store, other).timings == [theirs.key]
    assert {timing.key for timing in read_timings(store.timings)} == {ours.key, theirs.key}


@pytest.mark.parametrize("ours", ["failed", "pending"])
def test_a_finished_run_replaces_an_unfinished_one(
    store: Store, other: Store, teacher: RunSpec, finished: Finished, ours: str
) -> None:
    run = teacher.id
    store.write_spec(teacher)
    store.log(run, "first try")
    checkpoints.write(store.folder(run), 3, b"state", {})
    if ours == "failed":
        store.write_result(run, {"status": "failed", "error": "NaN"})
    finished(other, teacher)
    assert merge(store, other).runs == [run]
    assert store.state(run) == "done"
    quarantined = store.root / "quarantine" / f"{run}-1"
    assert "first try" in (quarantined / "log.txt").read_text()
    assert (quarantined / "why.txt").read_text() == f"replaced by the run of {other.root}\n"
    assert not (store.folder(run) / "checkpoint.pt").exists()


@pytest.mark.parametrize("name", ["weights.safetensors", "predictions.safetensors"])
def test_an_intact_run_replaces_a_corrupted_one(
    store: Store, other: Store, teacher: RunSpec, finished: Finished, name: str
) -> None:
    finished(store, teacher)
    finished(other, teacher)
    (store.folder(teacher.id) / name).write_bytes(b"cut")
    assert merge(store, other).runs == [teacher.id]
    assert store.corruption(teacher.id, deep=True) is None
    quarantined = store.root / "quarantine" / f"{teacher.id}-1"
    assert (quarantined / name).read_bytes() == b"cut"
    assert read_predictions(store, teacher.id).keys() == {"student"}


def test_a_failed_run_is_copied_only_if_the_target_has_not_started_it(
    store: Store, other: Store, student: Student
) -> None:
    new, started = student(0), student(1)
    for run in (new, started):
        other.write_spec(run)
        other.write_result(run.id, {"status": "failed", "error": "NaN"})
    store.write_spec(started)
    assert merge(store, other).runs == [new.id]
    assert [store.state(run.id) for run in (new, started)] == ["failed", "pending"]


def test_a_run_that_is_done_in_the_target_is_kept(
    store: Store, other: Store, student: Student, finished: Finished
) -> None:
    same, different = student(0), student(1)
    for folder, host, accuracy in ((store, "a", 0.5), (other, "b", 0.75)):
        finished(folder, same, host=host, test_accuracy=0.5)
        finished(folder, different, host=host, test_accuracy=accuracy)
    before = content(store.root)
    merged = merge(store, other)
    note = (
        "not copied: done in both folders with different numbers (test_accuracy 0.5 in the target, 0.75 in the source)"
    )
    assert (merged.runs, merged.notes) == ([], [f"{different.id}: {note}"])
    assert content(store.root) == before


def test_a_run_that_is_training_in_the_target_is_kept(
    store: Store, other: Store, teacher: RunSpec, finished: Finished
) -> None:
    finished(other, teacher)
    store.write_spec(teacher)
    with store.claimed(teacher.id):
        merged = merge(store, other)
    assert (merged.runs, merged.notes) == (
        [],
        [f"{teacher.id}: not copied: another process is training it in the target folder"],
    )
    assert store.state(teacher.id) == "pending"


@pytest.mark.parametrize("name", ["weights.safetensors", "predictions.safetensors"])
def test_corrupted_files_are_not_copied(
    store: Store, other: Store, teacher: RunSpec, finished: Finished, name: str
) -> None:
    finished(other, teacher)
    path = other.folder(teacher.id) / name
    flipped = bytearray(path.read_bytes())
    flipped[-1] ^= 1
    path.write_bytes(flipped)
    (other.matrices / "thesis.json").write_text("{")
    merged = merge(store, other)
    assert merged.runs == []
    assert merged.notes[0].startswith(f"{teacher.id}: not copied: it is corrupted: {name} does not match")
    assert merged.notes[1].startswith(f"matrix thesis: not copied: {other.matrices / 'thesis.json'}: corrupted")
    assert not store.folder(teacher.id).exists()


def test_the_index_of_the_target_is_kept(
    store: Store, other: Store, student: Student, index: Callable[..., MatrixIndex]
) -> None:
    store.write_index(index(student(0)))
    other.write_index(index(student(1)))
    assert merge(store, other).notes == ["matrix thesis: not copied: the two folders have different versions of it"]
    assert store.index("thesis") == index(student(0))


def test_an_index_with_the_choice_of_a_search_replaces_one_without(
    store: Store, other: Store, student: Student, index: Callable[..., MatrixIndex]
) -> None:
    before, after = replace(index(student(0)), undecided=1), index(student(0), student(1))
    store.write_index(before)
    other.write_index(after)
    assert merge(store, other).matrices == ["thesis"]
    assert merge(other, store).notes == []
    assert store.index("thesis") == other.index("thesis") == after
    store.write_index(replace(before, digest="other"))
    assert merge(store, other).matrices == []


def test_another_number_of_threads_is_refused(store: Store, other: Store, teacher: RunSpec, finished: Finished) -> None:
    finished(other, teacher)
    store.fix_threads(1)
    other.fix_threads(2)
    with pytest.raises(ResultsError) as caught:
        merge(store, other)
    assert f"{other.root}: its runs were trained with threads = 2, those of {store.root} with 1" in str(caught.value)
    assert store.run_ids() == []


def test_the_number_of_threads_is_copied(store: Store, other: Store) -> None:
    other.fix_threads(2)
    merge(store, other)
    assert json.loads((store.root / "kdbench.json").read_text())["threads"] == 2


def test_a_folder_is_not_merged_into_itself(store: Store) -> None:
    with pytest.raises(ResultsError, match="cannot be merged into itself"):
        merge(store, Store(store.root))


def test_a_copy_that_fails_leaves_the_run_unchanged(
    store: Store, other: Store, teacher: RunSpec, finished: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished(other, teacher)

    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("kdbench.results.merge.shutil.copytree", full)
    with pytest.raises(StorageError, match="No space left on device"):
        merge(store, other)
    assert store.state(teacher.id) == "pending"
    monkeypatch.undo()
    assert merge(store, other).runs == [teacher.id]


def test_neither_special_nor_endless_files_are_copied(
    store: Store, other: Store, teacher: RunSpec, finished: Finished
) -> None:
    finished(other, teacher)
    folder = other.folder(teacher.id)
    os.mkfifo(folder / "fifo")
    (folder / "device").symlink_to("/dev/zero")
    (folder / "nothing").symlink_to("nowhere")
    with (folder / "log.txt").open("wb") as file:
        file.truncate(10**10)
    assert merge(store, other).runs == [teacher.id]
    assert set(content(store.folder(teacher.id))) == {
        *("lock", "result.json", "spec.json", "weights.safetensors", "history.parquet", "predictions.safetensors")
    }
    assert store.corruption(teacher.id, deep=True) is None
