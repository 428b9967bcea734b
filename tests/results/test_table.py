import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from timings import add_timing

from kdbench.errors import ResultsError, StorageError
from kdbench.matrix import RunSpec
from kdbench.matrix.recipe import Recipe
from kdbench.results import MatrixIndex, Store, files, load_results, table
from kdbench.results.history import read_history
from kdbench.results.table import export, read_rows, to_arrow

Student = Callable[..., RunSpec]
Index = Callable[..., MatrixIndex]
Finish = Callable[..., None]

METRICS = ["accuracy", "top5", "f1", "precision", "recall", "nll", "ece"]
STABLE = [
    *("run_id", "cell", "matrix", "dataset", "teacher", "student", "method", "label", "params", "seed"),
    *("status", "error"),
    *(f"{split}_{metric}{suffix}" for split in ("val", "test") for metric in METRICS for suffix in ("", "_best")),
    *("teacher_agreement", "parameters", "parameters_training", "flops", "inference_ms", "inference_ms_p95"),
    *("throughput", "peak_memory_mb", "train_seconds", "epochs_run", "best_epoch"),
    *("kdbench_version", "git_commit", "torch_version", "device", "precision", "cohort_size", "attempts"),
    *("host", "started", "finished"),
]


@pytest.fixture
def finish(store: Store) -> Finish:
    """Let a run be done, with its row and its history."""

    def make(run: RunSpec, row: dict[str, Any], history: list[dict[str, Any]] | None = None, **result: Any) -> None:
        store.write_spec(run)
        if history is not None:
            pq.write_table(to_arrow(history, {}), store.folder(run.id) / "history.parquet")
        store.write_result(run.id, {"status": "done", "row": row, **result})

    return make


def parquet(store: Store, name: str = "results") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(store.root / f"{name}.parquet").to_pylist()
    return found


def test_a_row_of_a_finished_run(
    store: Store, student: Student, teacher: RunSpec, index: Index, finish: Finish
) -> None:
    run = student(3, alpha=0.9, temperature=4.0)
    finish(run, {"test_accuracy": 0.75, "device": "cpu"}, architecture="cnn")
    timing = add_timing(store.timings, "cnn")
    store.write_index(index(run))
    (row,) = read_rows(store)
    found = {key: value for key, value in row.items() if value is not None}
    assert json.loads(found.pop("params")) == {"alpha": 0.9, "temperature": 4.0}
    assert json.loads(found.pop("needs")) == {"teacher": teacher.id}
    assert Recipe.model_validate_json(found.pop("recipe"), strict=False) == run.recipe
    assert found == {
        "run_id": run.id,
        "cell": run.cell,
        "matrix": "thesis",
        "label": "HKD",
        "phase": "report",
        "dataset": "digits",
        "teacher": "large",
        "student": "small",
        "method": "vanilla",
        "seed": 3,
        "validation": run.split.validation,
        "split_seed": run.split.split_seed,
        "numerics": run.numerics,
        "status": "done",
        "param.alpha": 0.9,
        "param.temperature": 4.0,
        "test_accuracy": 0.75,
        "device": "cpu",
        "architecture": "cnn",
        **timing.columns,
    }


def test_every_stable_name_is_a_column(store: Store, teacher: RunSpec) -> None:
    export(store)
    assert set(STABLE) <= set(load_results(str(store.root)).columns)
    assert set(STABLE) <= set(pq.read_schema(store.root / "results.parquet").names)
    store.write_spec(teacher)
    export(store)
    assert set(STABLE) <= set(load_results(str(store.root)).columns)
    assert set(STABLE) <= set(pq.read_schema(store.root / "results.parquet").names)


def test_the_type_of_a_column_does_not_depend_on_its_values(store: Store, teacher: RunSpec, finish: Finish) -> None:
    export(store)
    empty = pq.read_schema(store.root / "results.parquet")
    finish(teacher, {"test_accuracy": 1, "parameters": 7, "threads": 1})
    export(store)
    filled = pq.read_schema(store.root / "results.parquet")
    assert all(empty.field(name) == filled.field(name) for name in STABLE)
    assert str(filled.field("error").type) == str(filled.field("params").type) == "string"
    assert str(filled.field("test_accuracy").type) == str(filled.field("inference_ms").type) == "double"
    assert str(filled.field("attempts").type) == "int64"
    assert str(filled.field("seed").type) == str(filled.field("parameters").type) == "int64"


def test_runs_of_every_state_have_a_row(store: Store, student: Student, index: Index, finish: Finish) -> None:
    done, failed, running, pending, unstarted = (student(seed) for seed in range(5))
    finish(done, {})
    for run in (failed, running, pending):
        store.write_spec(run)
    store.write_result(failed.id, {"status": "failed", "error": "NaN in epoch 3", "row": {"host": "here"}})
    lock = store.claim(running.id)
    assert lock is not None
    store.write_index(index(done, failed, running, pending, unstarted))
    frame = load_results(str(store.root)).set_index("run_id")
    lock.release()
    states = {run.id: state for run, state in ((done, "done"), (failed, "failed"), (running, "running"))}
    assert frame["status"].to_dict() == {**states, pending.id: "pending", unstarted.id: "pending"}
    assert list(frame.index) == sorted(frame.index)
    assert (frame.loc[failed.id, "error"], frame.loc[failed.id, "host"]) == ("NaN in epoch 3", "here")
    assert frame.loc[pending.id, "seed"] == 3
    assert frame.loc[unstarted.id, ["seed", "dataset", "student", "method"]].to_list() == [
        4,
        "digits",
        "small",
        "vanilla",
    ]
    assert set(frame["label"]) == {"HKD"}


def test_a_run_that_two_matrices_share(store: Store, teacher: RunSpec, index: Index) -> None:
    store.write_spec(teacher)
    store.write_index(index(teacher, name="thesis", label="teacher"))
    store.write_index(index(teacher, teacher, name="appendix", label="scratch"))
    (row,) = read_rows(store)
    assert (row["matrix"], row["label"]) == ("appendix; thesis", "scratch; teacher")
    for matrix, label in (("appendix", "scratch"), ("thesis", "teacher")):
        frame = load_results(str(store.root), matrix)
        assert frame[["run_id", "matrix", "label"]].to_numpy().tolist() == [[teacher.id, matrix, label]]
    with pytest.raises(ResultsError, match="no matrix is called 'thesi'; did you mean 'thesis'"):
        load_results(str(store.root), "thesi")


def test_a_run_of_no_matrix(store: Store, teacher: RunSpec) -> None:
    store.write_spec(teacher)
    (row,) = read_rows(store)
    assert (row["matrix"], row["label"], row["teacher"], row["student"]) == ("", "", None, "large")


def test_a_corrupted_spec_affects_only_its_row(store: Store, student: Student, finish: Finish) -> None:
    intact, corrupted = student(0), student(1)
    for run in (intact, corrupted):
        finish(run, {"test_accuracy": 0.5})
    (store.folder(corrupted.id) / "spec.json").write_text("{")
    export(store)
    found = {row["run_id"]: row for row in parquet(store)}
    assert found[intact.id]["test_accuracy"] == 0.5
    assert f"{corrupted.id}/spec.json: corrupted (" in found[corrupted.id]["error"]


@pytest.mark.parametrize(
    ("values", "column"),
    [
        ([1, 2.5], [1.0, 2.5]),
        ([1, "official"], ["1", "official"]),
        ([True, 0.5], ["true", "0.5"]),
        ([0.5, True], ["0.5", "true"]),
        ([1, 2**64], ["1", str(2**64)]),
        ([[1, 2], [3]], [[1, 2], [3]]),
        ([[1, 2], None], [[1, 2], None]),
        ([[1, 2], "all"], ["[1, 2]", "all"]),
        ([None, None], [None, None]),
    ],
)
def test_a_hyperparameter_of_mixed_types(
    store: Store, student: Student, finish: Finish, values: list[Any], column: list[Any]
) -> None:
    runs = [student(seed, layers=value) for seed, value in enumerate(values)]
    for run in runs:
        finish(run, {})
    export(store)
    found = {row["run_id"]: row["param.layers"] for row in parquet(store)}
    assert [found[run.id] for run in runs] == column


def test_a_hyperparameter_that_only_some_runs_have(store: Store, student: Student, finish: Finish) -> None:
    runs = [student(0, alpha=0.5), student(0, "triplet", margin=2.0)]
    for run in runs:
        finish(run, {})
    export(store)
    found = {row["run_id"]: (row["param.alpha"], row["param.margin"]) for row in parquet(store)}
    assert found == {runs[0].id: (0.5, None), runs[1].id: (None, 2.0)}


def test_histories_are_concatenated(store: Store, student: Student, finish: Finish) -> None:
    runs = [student(seed) for seed in range(4)]
    finish(runs[0], {}, [{"epoch": 1, "loss": 2, "val_nll": None}, {"epoch": 2, "loss": 1, "val_nll": None}])
    finish(runs[1], {}, [{"epoch": 1, "loss": 0.5, "val_nll": 0.25}])
    finish(runs[2], {}, [])
    finish(runs[3], {})
    export(store)
    found = sorted(parquet(store, "history"), key=lambda row: (row["run_id"] != runs[0].id, row["epoch"]))
    assert found == [
        {"epoch": 1, "run_id": runs[0].id, "loss": 2.0, "val_nll": None},
        {"epoch": 2, "run_id": runs[0].id, "loss": 1.0, "val_nll": None},
        {"epoch": 1, "run_id": runs[1].id, "loss": 0.5, "val_nll": 0.25},
    ]
    assert read_history(store, runs[1].id).to_pylist() == [{"epoch": 1, "loss": 0.5, "val_nll": 0.25}]
    assert read_history(store, runs[3].id).to_pydict() == {"epoch": []}


def test_the_tables_can_be_rebuilt(store: Store, student: Student, index: Index, finish: Finish) -> None:
    runs = [student(seed, alpha=0.5) for seed in range(2)]
    for run in runs:
        finish(run, {"test_accuracy": 0.5}, [{"epoch": 1, "loss": 0.5}])
    store.write_index(index(*runs))
    export(store)
    before = parquet(store), parquet(store, "history")
    for name in ("results", "history"):
        (store.root / f"{name}.parquet").write_bytes(b"corrupted")
    export(store)
    assert (parquet(store), parquet(store, "history")) == before
    shutil.rmtree(store.runs)
    export(store)
    assert [row["status"] for row in parquet(store)] == ["pending", "pending"]
    assert parquet(store, "history") == []


def test_an_export_that_fails_leaves_the_old_tables(
    store: Store, student: Student, finish: Finish, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(student(0), {}, [{"epoch": 1}])
    export(store)
    before = {path.name: path.read_bytes() for path in store.root.glob("*.parquet")}
    finish(student(1), {}, [{"epoch": 1}])

    def half(written: pa.Table, path: Path) -> None:
        path.write_bytes(b"PAR1")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(table.pq, "write_table", half)
    with pytest.raises(StorageError, match=r"results: cannot be written \(No space left on device\)"):
        export(store)
    assert {path.name: path.read_bytes() for path in store.root.glob("*.parquet")} == before
    assert not list(store.root.glob(".*.tmp"))


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + b"\0" * 40 + b"PAR1"])
def test_a_corrupted_history(store: Store, student: Student, finish: Finish, content: bytes) -> None:
    run = student(0)
    finish(run, {})
    path = store.folder(run.id) / "history.parquet"
    path.write_bytes(content)
    with pytest.raises(ResultsError) as caught:
        read_history(store, run.id)
    assert str(caught.value).startswith(f"{path}: corrupted (")
    assert str(caught.value).endswith("); run `kdbench reindex --deep`, then run the matrix again")


def test_only_one_export_at_a_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    build = table.read_rows

    def watched(of: Store) -> list[dict[str, Any]]:
        lock = table.FileLock(store.root / "export.lock", timeout=0)
        with pytest.raises(TimeoutError):
            lock.acquire()
        seen.append(True)
        return build(of)

    monkeypatch.setattr(table, "read_rows", watched)
    export(store)
    assert seen == [True]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="results folder not found"):
        load_results(str(tmp_path / "none"))


def test_a_corrupted_history_is_left_out_with_a_warning(store: Store, student: Student, finish: Finish) -> None:
    intact, corrupted = student(0), student(1)
    for run in (intact, corrupted):
        finish(run, {}, [{"epoch": 1}])
    path = store.folder(corrupted.id) / "history.parquet"
    path.write_bytes(b"PAR1")
    _, (warning,) = export(store)
    assert warning.startswith(f"{path}: corrupted (")
    assert warning.endswith("); left out of history.parquet; `kdbench reindex --deep` quarantines the run")
    assert [row["run_id"] for row in parquet(store, "history")] == [intact.id]
    assert len(parquet(store)) == 2


@pytest.mark.parametrize("name", ["results", "history"])
def test_a_corrupted_table_is_named_and_rebuilt(store: Store, teacher: RunSpec, finish: Finish, name: str) -> None:
    finish(teacher, {}, [{"epoch": 1}])
    assert export(store)[1] == []
    path = store.root / f"{name}.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    assert export(store)[1] == [f"{path}: corrupted; rebuilt"]
    assert export(store)[1] == []
    assert [row["run_id"] for row in parquet(store, name)] == [teacher.id]


def test_each_file_of_a_run_is_read_once(
    store: Store, student: Student, index: Index, finish: Finish, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [student(seed, alpha=0.5) for seed in range(3)]
    for run in runs:
        finish(run, {"test_accuracy": 0.5}, [{"epoch": 1}], architecture="cnn")
    timing = add_timing(store.timings, "cnn")
    store.write_index(index(*runs))
    opened: list[Path] = []
    read = files.read_regular

    def counted(path: Path, max_bytes: int) -> bytes:
        opened.append(path)
        return read(path, max_bytes)

    monkeypatch.setattr(files, "read_regular", counted)
    assert [row["inference_ms"] for row in read_rows(store)] == [0.5] * 3
    of_runs = {store.folder(run.id) / name for run in runs for name in ("spec.json", "result.json")}
    assert sorted(opened) == sorted([*of_runs, store.matrices / "thesis.json", store.timings / f"{timing.key}.json"])


def test_a_run_that_ends_while_it_is_read_is_never_done_without_numbers(
    store: Store, student: Student, finish: Finish, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = student(0)
    store.write_spec(run)
    read = Store.result

    def ends_meanwhile(self: Store, run_id: str) -> dict[str, Any] | None:
        found = read(self, run_id)
        finish(run, {"test_accuracy": 0.5})
        return found

    monkeypatch.setattr(Store, "result", ends_meanwhile)
    states = [(row["status"], row["test_accuracy"]) for _ in range(2) for row in read_rows(store)]
    assert states == [("pending", None), ("done", 0.5)]
