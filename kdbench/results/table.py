"""The derived tables: one row a run, one row an epoch. They can always be rebuilt from the run folders."""

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock

from kdbench.errors import ResultsError
from kdbench.matrix.spec import RunSpec
from kdbench.results.files import read_json, writable, write_whole
from kdbench.results.store import Store

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]

METRICS = ("accuracy", "top5", "f1", "precision", "recall", "nll", "ece")
WEIGHTED = ("f1_weighted", "precision_weighted", "recall_weighted")

IDENTITY = (
    *("run_id", "cell", "matrix", "dataset", "teacher", "student", "method", "label", "params", "seed"),
    *("status", "error"),
)
TIMING = ("inference_ms", "inference_ms_p95", "inference_ms_256", "inference_ms_256_p95", "throughput")
NUMBERS = (
    *(f"{split}_{metric}" for split in ("val", "test") for metric in (*METRICS, *WEIGHTED)),
    *(f"{split}_{metric}_best" for split in ("val", "test") for metric in (*METRICS, *WEIGHTED)),
    *("teacher_agreement", "parameters", "parameters_training", "flops", *TIMING, "peak_memory_mb", "train_seconds"),
    *("epochs_run", "best_epoch"),
)
PROVENANCE = (
    *("kdbench_version", "git_commit", "torch_version", "device", "precision", "threads", "cohort_size", "host"),
    *("started", "finished"),
)


def rows(store: Store) -> list[Row]:
    """A row for every run that was started or asked for, finished or not."""
    asked = _asked(store)
    return [_row(store, run, asked.get(run, [])) for run in sorted({*store.run_ids(), *asked})]


def export(store: Store) -> None:
    """Write `results.parquet` and `history.parquet` anew, under one lock.

    Raises:
        ResultsError: the folder cannot be written to.
    """
    with writable(store.root), FileLock(store.root / "export.lock", timeout=60):
        table = to_arrow(rows(store))
        write_whole(store.root / "results.parquet", lambda path: pq.write_table(table, path))
        histories = [
            read_history(store, run).append_column("run_id", pa.array([run] * epochs))
            for run in store.run_ids()
            if (epochs := _epochs(store, run)) > 0
        ]
        if histories:
            joined = pa.concat_tables(histories, promote_options="permissive")
            write_whole(store.root / "history.parquet", lambda path: pq.write_table(joined, path))


def load_results(root: str) -> "pd.DataFrame":
    """A pandas data frame of a results folder, a row a run; read from the run folders themselves.

    Raises:
        ResultsError: there is no such folder, or a newer kdbench wrote it.
    """
    import pandas as pd

    return pd.DataFrame(rows(Store(root, create=False)), columns=None)


def read_history(store: Store, run_id: str) -> pa.Table:
    """The epochs of a run, a row each; no row where it has not ended."""
    path = store.folder(run_id) / "history.parquet"
    try:
        return pq.read_table(path) if path.exists() else pa.table({"epoch": pa.array([], pa.int64())})
    except pa.ArrowInvalid as error:
        raise ResultsError(f"{path}: damaged ({error}); remove the folder and run the matrix again") from None


def to_arrow(found: Iterable[Mapping[str, Any]]) -> pa.Table:
    """Rows of different keys as one table; a column of mixed types becomes text."""
    found = list(found)
    keys = dict.fromkeys(key for row in found for key in row)
    return pa.table({key: _column([row.get(key) for row in found]) for key in keys})


def _column(values: list[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.array([None if v is None else json.dumps(v) if not isinstance(v, str) else v for v in values])


def _epochs(store: Store, run_id: str) -> int:
    return int(read_history(store, run_id).num_rows)


def _asked(store: Store) -> dict[str, list[tuple[str, str]]]:
    """Which matrices ask for a run, and under which label."""
    asked: dict[str, list[tuple[str, str]]] = {}
    for index in store.indexes():
        for cell in index.cells:
            for run in cell.runs.values():
                asked.setdefault(run, []).append((index.name, cell.label))
    return asked


def _row(store: Store, run_id: str, asked: list[tuple[str, str]]) -> Row:
    row: Row = dict.fromkeys((*IDENTITY, *NUMBERS, *PROVENANCE))
    row |= {"run_id": run_id, "status": store.state(run_id)}
    row["matrix"] = "; ".join(dict.fromkeys(matrix for matrix, _ in asked))
    row["label"] = "; ".join(dict.fromkeys(label for _, label in asked))
    try:
        row |= _of_spec(RunSpec.from_json(read_json(store.folder(run_id) / "spec.json")))
    except FileNotFoundError:
        return row
    result = store.result(run_id)
    if result is None:
        return row
    row |= {"error": result.get("error")} | result.get("row", {})
    if "architecture" in result:
        row |= store.timing(result["architecture"]) or {}
    return row


def _of_spec(spec: RunSpec) -> Row:
    hyperparameters = spec.hyperparameters
    return {
        "cell": spec.cell,
        "dataset": spec.dataset.name,
        "teacher": spec.teacher.student.name if spec.teacher else None,
        "student": spec.student.name,
        "method": spec.method,
        "params": json.dumps(hyperparameters, sort_keys=True),
        "seed": spec.seed,
        **{f"param.{key}": value for key, value in hyperparameters.items()},
    }
