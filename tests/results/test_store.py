import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from forged import with_checksum

from kdbench.errors import ResultsError, StorageError
from kdbench.matrix import RunSpec
from kdbench.results import MatrixIndex, Store, load_indexes
from kdbench.results.files import write_checked_json
from kdbench.results.folder_metadata import FORMAT

Student = Callable[..., RunSpec]
Index = Callable[..., MatrixIndex]

HOLDER = """
import sys
from kdbench.results import Store

lock = Store(sys.argv[1]).claim(sys.argv[2])
print("claimed" if lock else "refused", flush=True)
sys.stdin.read()
"""


@contextmanager
def claimed_elsewhere(store: Store, run_id: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that trains the run."""
    command = [sys.executable, "-c", HOLDER, str(store.root), run_id]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "claimed\n"
        yield process
        process.kill()


def test_a_new_folder(tmp_path: Path) -> None:
    root = tmp_path / "a" / "results"
    Store(str(root))
    assert sorted(entry.name for entry in root.iterdir()) == ["kdbench.json", "matrices", "runs", "timings"]
    assert json.loads((root / "kdbench.json").read_text()) == {"format": FORMAT}
    Store(root)
    assert json.loads((root / "kdbench.json").read_text()) == {"format": FORMAT}


def test_a_folder_that_is_only_read_is_not_created(tmp_path: Path) -> None:
    root = tmp_path / "results"
    with pytest.raises(ResultsError) as caught:
        Store(root, create=False)
    assert str(caught.value) == f"{root}: results folder not found; `kdbench run MATRIX` creates it"
    assert not root.exists()
    root.mkdir()
    empty = Store(root, create=False)
    assert (empty.run_ids(), list(empty.indexes()), empty.state("0")) == ([], [], "pending")
    assert list(root.iterdir()) == []


@pytest.mark.parametrize(("difference", "age", "do"), [(1, "a newer", "upgrade kdbench or "), (-1, "an older", "")])
def test_another_format_is_refused(tmp_path: Path, difference: int, age: str, do: str) -> None:
    (tmp_path / "kdbench.json").write_text(json.dumps({"format": FORMAT + difference}))
    reason = f"written by {age} kdbench (format {FORMAT + difference}, this version reads format {FORMAT})"
    for create in (True, False):
        with pytest.raises(ResultsError) as caught:
            Store(tmp_path, create=create)
        assert str(caught.value) == f"{tmp_path}: {reason}; {do}choose another results folder with --results"


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"cannot be written .* choose another results folder with --results"):
        Store(tmp_path / "file")
    with pytest.raises(ResultsError, match="results folder not found"):
        Store(tmp_path / "file", create=False)


def test_a_run_folder_that_cannot_be_created(store: Store) -> None:
    store.folder("abc").touch()
    with pytest.raises(StorageError, match="abc: cannot be written"):
        store.claim("abc")
    assert store.state("abc") == "pending"


def test_check_writable(store: Store) -> None:
    before = sorted(store.root.iterdir())
    store.check_writable()
    assert sorted(store.root.iterdir()) == before
    probe = store.root / f".probe.{os.getpid()}"
    probe.mkdir()
    with pytest.raises(StorageError, match=r"cannot be written \(Is a directory\)"):
        store.check_writable()


def test_threads_are_fixed_once(store: Store) -> None:
    assert store.fix_threads(2) == 2
    assert Store(store.root).fix_threads(8) == 2


def test_the_states_of_a_run(store: Store, teacher: RunSpec) -> None:
    run = teacher.id
    assert (store.state(run), store.is_finished(run)) == ("pending", False)
    store.write_spec(teacher)
    assert (store.state(run), store.is_finished(run)) == ("pending", False)
    lock = store.claim(run)
    assert lock is not None
    assert store.state(run) == "running"
    store.write_result(run, {"status": "failed", "error": "NaN"})
    assert (store.state(run), store.is_finished(run)) == ("failed", True)
    lock.release()
    store.write_result(run, {"status": "done"})
    assert (store.state(run), store.is_finished(run)) == ("done", True)
    assert store.result(run) == {"run_id": run, "status": "done"}
    store.clear_result(run)
    store.clear_result(run)
    assert (store.state(run), store.result(run)) == ("pending", None)


def test_a_run_is_claimed_once(store: Store) -> None:
    lock = store.claim("abc")
    assert lock is not None
    assert store.claim("abc") is None
    assert Store(store.root).claim("abc") is None
    lock.release()
    again = store.claim("abc")
    assert again is not None
    again.release()
    assert (store.folder("abc") / "lock").exists()


def test_a_process_that_dies_unlocks_its_run(store: Store) -> None:
    with claimed_elsewhere(store, "abc") as process:
        assert store.state("abc") == "running"
        assert store.claim("abc") is None
        assert store.state("other") == "pending"
        process.kill()
        process.wait(timeout=30)
        assert store.state("abc") == "pending"
        lock = store.claim("abc")
        assert lock is not None
        lock.release()


@pytest.mark.parametrize(
    "content", ['{"run_id": "another", "status": "done"}', '{"status": "done"}', '{"run_id": "abc"', "[]", ""]
)
def test_the_result_of_another_run_is_none(store: Store, content: str) -> None:
    store.folder("abc").mkdir()
    (store.folder("abc") / "result.json").write_bytes(with_checksum(content))
    assert (store.result("abc"), store.state("abc"), store.is_finished("abc")) == (None, "pending", False)


def test_a_folder_in_place_of_the_result(store: Store) -> None:
    (store.folder("abc") / "result.json").mkdir(parents=True)
    assert (store.result("abc"), store.state("abc")) == (None, "pending")


def test_specs_survive_a_round_trip(store: Store, student: Student) -> None:
    run = student(3, alpha=0.9)
    store.write_spec(run)
    again = store.spec(run.id)
    assert (again.id, again.cell, again.hyperparameters) == (run.id, run.cell, {"alpha": 0.9})
    assert again.teacher is not None
    assert again.teacher.id == run.needs[0][1].id


def test_a_missing_or_corrupted_spec(store: Store, teacher: RunSpec) -> None:
    with pytest.raises(ResultsError) as caught:
        store.spec("abc")
    assert str(caught.value) == f"abc: no such run in {store.root}"
    store.write_spec(teacher)
    path = store.folder(teacher.id) / "spec.json"
    spec = json.loads(path.read_text())
    for changes, why in [
        ({}, "KeyError: 'dataset'"),
        ({"split": {"validaton": 1}}, "TypeError: "),
        ({"recipe": {"epochs": "x"}}, "epochs: Input should be a valid integer"),
    ]:
        path.write_bytes(with_checksum(json.dumps({**spec, **changes} if changes else {})))
        with pytest.raises(ResultsError) as caught:
            store.spec(teacher.id)
        assert str(caught.value).startswith(f"{path}: corrupted ({why}")
        assert str(caught.value).endswith("); run `kdbench reindex --deep`, then run the matrix again")


def test_a_run_is_found_by_a_prefix_of_its_id(store: Store) -> None:
    for run in ("abc0", "abc1", "abd0"):
        store.folder(run).mkdir()
        (store.folder(run) / "spec.json").touch()
    store.folder("abx0").mkdir()
    assert store.run_ids() == ["abc0", "abc1", "abd0"]
    assert [store.find_run(prefix) for prefix in ("abd", "abc1", "abd0")] == ["abd0", "abc1", "abd0"]
    for prefix, message in [
        ("abc", "abc: 2 runs start with this; give more digits"),
        ("", ": 3 runs start with this; give more digits"),
        ("abx0", f"abx0: no such run in {store.root}; did you mean 'abd0'?"),
        ("zzz", f"zzz: no such run in {store.root}; valid: abc0, abc1, abd0"),
    ]:
        with pytest.raises(ResultsError) as caught:
            store.find_run(prefix)
        assert str(caught.value) == message


def test_a_quarantined_run_is_named(store: Store) -> None:
    store.folder("abc0").mkdir()
    (store.folder("abc0") / "spec.json").touch()
    target = store.quarantine("abc0", "corrupted")
    with pytest.raises(ResultsError) as caught:
        store.find_run("abc")
    assert str(caught.value) == f"abc: this run was corrupted and moved to {target}; run its matrix to train it again"


def test_indexes(store: Store, student: Student, index: Index) -> None:
    made = [index(student(), name=name) for name in ("thesis", "appendix")]
    for one in made:
        store.write_index(one)
    assert store.index("thesis") == made[0]
    assert store.index("none") is None
    assert load_indexes(str(store.root)) == (made[1], made[0])


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"cells": 3, "incompatible": []}', '{"cells": [{"kind": "x"}]}'])
def test_a_corrupted_index_is_none(store: Store, student: Student, index: Index, content: str) -> None:
    store.write_index(index(student()))
    (store.matrices / "corrupted.json").write_bytes(with_checksum(content))
    assert store.index("corrupted") is None
    assert [found.name for found in store.indexes()] == ["thesis"]


def test_the_indexes_of_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="results folder not found"):
        load_indexes(str(tmp_path / "none"))


def test_a_matrix_is_complete_when_its_runs_are_finished(
    store: Store, student: Student, index: Index, finished: Callable[..., None]
) -> None:
    runs = [student(0), student(1)]
    matrix = index(*runs)

    assert not store.is_complete(matrix)
    finished(store, runs[0])
    assert not store.is_complete(matrix)
    store.write_result(runs[1].id, {"status": "failed"})
    assert store.is_complete(matrix)


def test_each_architecture_has_one_run(store: Store, student: Student, finished: Callable[..., None]) -> None:
    runs = [student(seed) for seed in range(4)]
    for run, architecture in zip(runs, ("cnn", "mlp", "cnn"), strict=False):
        finished(store, run)
        store.write_result(run.id, {**(store.result(run.id) or {}), "architecture": architecture})
    assert store.architectures(run.id for run in runs) == {"cnn": runs[0].id, "mlp": runs[1].id}


def test_a_corrupted_kdbench_json_is_refused_with_a_command(store: Store, teacher: RunSpec) -> None:
    store.write_spec(teacher)
    store.write_result(teacher.id, {"status": "done", "row": {"threads": 3}})
    about = store.root / "kdbench.json"
    about.write_text('{"form')
    with pytest.raises(ResultsError) as caught:
        Store(store.root)
    assert str(caught.value).startswith(f"{about}: corrupted (")
    assert str(caught.value).endswith(f'; restore it with: echo \'{{"format": {FORMAT}, "threads": 3}}\' > {about}')


def test_the_number_of_threads_is_recovered_from_the_runs(store: Store, teacher: RunSpec) -> None:
    assert store.threads is None
    store.write_spec(teacher)
    store.write_result(teacher.id, {"status": "done", "row": {"threads": 3}})
    assert store.threads == 3
    (store.root / "kdbench.json").unlink()
    again = Store(store.root)
    assert (again.fix_threads(1), again.threads) == (3, 3)


def test_a_matrix_with_a_corrupted_run_is_not_complete(
    store: Store, teacher: RunSpec, index: Index, finished: Callable[..., None]
) -> None:
    finished(store, teacher)
    assert store.is_complete(index(teacher))
    (store.folder(teacher.id) / "weights.safetensors").unlink()
    assert not store.is_complete(index(teacher))


def test_an_attempt_that_was_given_away_counts_once(store: Store, teacher: RunSpec) -> None:
    assert store.begin_attempt(teacher.id) == 1
    store.give_away(teacher.id)
    assert store.attempts(teacher.id) == 1
    assert store.begin_attempt(teacher.id) == 1
    assert store.begin_attempt(teacher.id) == 2


@pytest.mark.parametrize("value", ["many", True, -1, 2**70, None, [], 1.5])
def test_an_impossible_number_of_attempts_is_none(store: Store, value: object) -> None:
    store.folder("abc").mkdir()
    (store.folder("abc") / "attempt.json").write_text(json.dumps({"count": value}))
    assert store.attempts("abc") == 0
    assert store.begin_attempt("abc") == 1


@pytest.mark.parametrize("threads", ["two", 0, -1, True, [], 2**70])
def test_an_impossible_number_of_threads_is_corrupted(store: Store, threads: object) -> None:
    (store.root / "kdbench.json").write_text(json.dumps({"format": FORMAT, "threads": threads}))
    with pytest.raises(ResultsError, match=r"corrupted \('threads' must be an integer of at least 1, got"):
        Store(store.root)


def test_threads_are_fixed_in_an_empty_folder(tmp_path: Path) -> None:
    assert Store(tmp_path, create=False).fix_threads(2) == 2
    assert Store(tmp_path).threads == 2


def test_only_names_of_runs_and_matrices_are_used(store: Store, teacher: RunSpec) -> None:
    for name in ("a\nb", "..x", "a" * 65):
        (store.runs / name).mkdir()
        (store.runs / name / "spec.json").touch()
    assert store.run_ids() == []
    for name in ("..", "a\nb", "../kdbench"):
        assert store.index(name) is None
        with pytest.raises(ResultsError, match="no matrix can have this name"):
            store.read_index(name)


def test_a_log_that_is_no_file_is_an_error(store: Store) -> None:
    store.folder("abc").mkdir()
    os.mkfifo(store.folder("abc") / "log.txt")
    with pytest.raises(StorageError, match=r"abc: cannot be written \(.+\); choose"):
        store.log("abc", "text")


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": "0"},
        {"seed": 2**70},
        {"numerics": True},
        {"needs": []},
        {"parts": 5},
        {"dataset": None},
        {"dataset": {"name": [], "kind": "digits", "options": {}, "fingerprint": "f00d"}},
        {"student": {"name": {"a": 1}}},
        {"peers": {"a": 1}},
    ],
)
def test_a_spec_with_other_types_is_corrupted(store: Store, teacher: RunSpec, changes: dict[str, Any]) -> None:
    store.write_spec(teacher)
    path = store.folder(teacher.id) / "spec.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(ResultsError, match=r"spec\.json: corrupted \("):
        store.spec(teacher.id)


def test_a_spec_of_another_run_is_corrupted(store: Store, teacher: RunSpec) -> None:
    store.write_spec(teacher)
    path = store.folder(teacher.id) / "spec.json"
    write_checked_json(path, {**teacher.to_json(), "seed": 7})
    with pytest.raises(ResultsError, match=r"spec\.json: corrupted \(it belongs to the run "):
        store.spec(teacher.id)
