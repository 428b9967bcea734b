"""The derived tables: one row a run, one row an epoch. They can always be rebuilt from the run folders."""

import json
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock

from kdbench.errors import ResultsError
from kdbench.matrix.spec import RunSpec
from kdbench.results.files import writable, write_whole
from kdbench.results.index import IndexCell
from kdbench.results.provenance import LEGACY_DEFAULTS
from kdbench.results.store import Store

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]
Timing = Callable[[str], Row | None]

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
    *("kdbench_version", "git_commit", "torch_version", "device", "precision", "threads", "compile", "cuda_graphs"),
    *("cohort_size", "attempts", "host", "started", "finished"),
)
COLUMNS = (*IDENTITY, *NUMBERS, *PROVENANCE)
COUNTS = (
    *("seed", "parameters", "parameters_training", "flops", "epochs_run", "best_epoch"),
    *("threads", "cohort_size", "attempts"),
)
TYPES: Mapping[str, pa.DataType] = {
    **dict.fromkeys((*IDENTITY, *PROVENANCE), pa.string()),
    **dict.fromkeys(NUMBERS, pa.float64()),
    **dict.fromkeys(COUNTS, pa.int64()),
    **dict.fromkeys(LEGACY_DEFAULTS, pa.bool_()),
}
EPOCH: Mapping[str, pa.DataType] = {"epoch": pa.int64(), "lr": pa.float64(), "seconds": pa.float64()}


def rows(store: Store) -> list[Row]:
    """A row for every run that was started or asked for, finished or not."""
    asked, timing = _asked(store), cache(store.timing)
    started = set(store.run_ids())
    return [_row(store, timing, run, asked.get(run, []), run in started) for run in sorted({*started, *asked})]


def export(store: Store) -> list[str]:
    """Write `results.parquet` and `history.parquet` anew, under one lock; gives what was found corrupted.

    Raises:
        ResultsError: the folder cannot be written to.
    """
    return derive_seed(store)[1]


def derive_seed(store: Store) -> tuple[list[Row], list[str]]:
    """The same; also gives the rows.

    Raises:
        ResultsError: the folder cannot be written to.
    """
    with writable(store.root), FileLock(store.root / "export.lock", timeout=60):
        paths = [store.root / name for name in ("results.parquet", "history.parquet")]
        wrong = [f"{path}: corrupted; built anew" for path in paths if path.exists() and not _is_parquet(path)]
        found = rows(store)
        histories, left_out = _histories(store)
        for path, table in zip(paths, (to_arrow(found, TYPES), histories), strict=True):
            write_whole(path, partial(pq.write_table, table))
    return found, wrong + left_out


def _is_parquet(path: Path) -> bool:
    try:
        pq.read_schema(path)
    except (pa.ArrowException, OSError):
        return False
    return True


def load_results(root: str) -> "pd.DataFrame":
    """A pandas data frame of a results folder, a row a run; read from the run folders themselves.

    Raises:
        ResultsError: there is no such folder, or a newer kdbench wrote it.
    """
    return to_frame(rows(Store(root, create=False)))


def to_frame(found: list[Row]) -> "pd.DataFrame":
    """Rows as a pandas data frame."""
    import pandas as pd

    return pd.DataFrame(found, columns=None if found else COLUMNS)


def read_history(store: Store, run_id: str) -> pa.Table:
    """The epochs of a run, a row each; no row where it has not ended."""
    path = store.folder(run_id) / "history.parquet"
    try:
        with pq.ParquetFile(pa.BufferReader(path.read_bytes())) as file:
            return file.read(use_threads=False)
    except FileNotFoundError:
        return pa.table({"epoch": pa.array([], pa.int64())})
    except (pa.ArrowException, OSError) as error:
        raise ResultsError(f"{path}: corrupted ({error}); remove the folder and run the matrix again") from None


def to_arrow(found: Iterable[Mapping[str, Any]], types: Mapping[str, pa.DataType] | None = None) -> pa.Table:
    """Rows of different keys as one table, the columns of known type first; one of mixed types becomes text."""
    found, known = list(found), types or {}
    keys = dict.fromkeys([*known, *(key for row in found for key in row)])
    return pa.table({key: _column([row.get(key) for row in found], known.get(key)) for key in keys})


def _column(values: list[Any], known: pa.DataType | None) -> pa.Array:
    if known is not None:
        return pa.array(values, known)
    mixes_booleans = len({isinstance(v, bool) for v in values if v is not None}) > 1  # Arrow takes true for 1.0
    try:
        if not mixes_booleans:
            return pa.array(values)
    except (pa.ArrowException, OverflowError):
        pass
    return pa.array([None if v is None else json.dumps(v) if not isinstance(v, str) else v for v in values])


def _histories(store: Store) -> tuple[pa.Table, list[str]]:
    """The epochs of all runs, with the run that each belongs to; and which are corrupted, so that they are left out."""
    tables, wrong = [pa.table({"epoch": pa.array([], pa.int64()), "run_id": pa.array([], pa.string())})], []
    for run in store.run_ids():
        try:
            table = read_history(store, run)
        except ResultsError as error:
            wrong.append(f"{error}; it is left out of history.parquet, `kdbench reindex --deep` puts the run aside")
            continue
        tables.append(table.append_column("run_id", pa.array([run] * table.num_rows, pa.string())))
    return pa.concat_tables(tables, promote_options="permissive"), wrong


def _asked(store: Store) -> dict[str, list[tuple[str, IndexCell, int]]]:
    """Which matrices ask for a run, in which of their cells, with which seed."""
    asked: dict[str, list[tuple[str, IndexCell, int]]] = {}
    for index in store.indexes():
        for cell in index.cells:
            for seed, run in cell.runs.items():
                asked.setdefault(run, []).append((index.name, cell, int(seed)))
    return asked


def _row(store: Store, timing: Timing, run_id: str, asked: list[tuple[str, IndexCell, int]], started: bool) -> Row:
    row: Row = dict.fromkeys(COLUMNS)
    result = store.result(run_id)
    row |= {"run_id": run_id, "status": store.state_by(result, run_id)}
    row["matrix"] = "; ".join(dict.fromkeys(matrix for matrix, _, _ in asked))
    row["label"] = "; ".join(dict.fromkeys(cell.label for _, cell, _ in asked))
    if not started:
        _, cell, seed = asked[0]
        return row | _of_cell(cell, seed)
    try:
        row |= _of_spec(store.spec(run_id))
    except ResultsError as error:
        return row | {"error": str(error)}
    if result is None:
        return row
    untold = LEGACY_DEFAULTS if row["status"] == "done" else {}
    row |= {"error": result.get("error"), **untold} | result.get("row", {})
    if "architecture" in result:
        row |= timing(result["architecture"]) or {}
    return row


def _of_cell(cell: IndexCell, seed: int) -> Row:
    """What is known of a run that nobody has begun; whether it uses the pair's teacher is not."""
    return {
        "dataset": cell.dataset,
        "student": cell.teacher if cell.kind == "teacher" else cell.student,
        "method": cell.method,
        "seed": seed,
        **_of_hyperparameters(cell.hyperparameters),
    }


def _of_spec(spec: RunSpec) -> Row:
    return {
        "cell": spec.cell,
        "dataset": spec.dataset.name,
        "teacher": spec.teacher.student.name if spec.teacher else None,
        "student": spec.student.name,
        "method": spec.method,
        "seed": spec.seed,
        **_of_hyperparameters(spec.hyperparameters),
    }


def _of_hyperparameters(hyperparameters: Mapping[str, Any]) -> Row:
    named = {f"param.{key}": value for key, value in hyperparameters.items()}
    return {"params": json.dumps(dict(hyperparameters), sort_keys=True), **named}
