"""The tables of a results folder, `results.parquet` and `history.parquet`, built from the run folders."""

import json
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock

from kdbench.errors import ResultsError, did_you_mean
from kdbench.matrix.spec import RunSpec
from kdbench.results.columns import COLUMNS
from kdbench.results.files import without_remedy, writable, write_atomic
from kdbench.results.history import read_history
from kdbench.results.index import IndexCell
from kdbench.results.regular_files import open_regular
from kdbench.results.store import Store
from kdbench.results.timings import Timing, choose_timings, read_timings

if TYPE_CHECKING:
    import pandas as pd

Row = dict[str, Any]
Request = tuple[str, IndexCell, int]  # the matrix, the cell and the seed that a run is part of

_TYPES = {name: pa.type_for_alias(column.type) for name, column in COLUMNS.items()}


def read_rows(store: Store, matrix: str | None = None) -> list[Row]:
    """Return a row for every run that was started or is part of a matrix, finished or not, sorted by id.

    With the name of a matrix: a row for every run of it, as if the folder had no other matrix.
    """
    requests, started = _requests(store, matrix), set(store.run_ids())
    runs = sorted({*started, *requests} if matrix is None else requests)
    rows = [_row(store, run, requests.get(run, []), run in started) for run in runs]
    return with_timings(rows, read_timings(store.timings))


def with_timings(rows: Iterable[Row], timings: Iterable[Timing]) -> list[Row]:
    """Return the rows with the inference times of their architectures, of one environment if it has them all."""
    rows = list(rows)
    chosen = choose_timings(timings, (row["architecture"] for row in rows if row.get("architecture")))
    return [row | (chosen[key].columns if (key := row.get("architecture")) in chosen else {}) for row in rows]


def time_matrix(frame: "pd.DataFrame", run_ids: Iterable[str], timings: Iterable[Timing]) -> "pd.DataFrame":
    """Return the rows of these runs, with inference times of one environment if it has all their architectures.

    The other runs of the frame, such as those of other matrices, have no part in the choice of the environment.
    """
    import pandas as pd

    if "architecture" not in frame.columns:
        return frame
    rows = frame[frame["run_id"].isin(list(run_ids))]
    chosen = choose_timings(timings, rows["architecture"])
    columns = [chosen[key].columns if key in chosen else {} for key in rows["architecture"]]
    timed = pd.DataFrame(columns, index=rows.index)
    return rows.drop(columns=[*timed.columns], errors="ignore").join(timed)


def export(store: Store) -> tuple[list[Row], list[str]]:
    """Write `results.parquet` and `history.parquet`; return the rows, and a warning for each corrupted file.

    Raises:
        StorageError: the folder cannot be written to.
    """
    with writable(store.root), FileLock(store.root / "export.lock", timeout=60):
        paths = [store.root / name for name in ("results.parquet", "history.parquet")]
        rebuilt = [f"{path}: corrupted; rebuilt" for path in paths if path.exists() and not _is_parquet(path)]
        rows = read_rows(store)
        histories, warnings = _histories(store)
        for path, table in zip(paths, (to_arrow(rows, _TYPES), histories), strict=True):
            write_atomic(path, partial(pq.write_table, table))
    return rows, rebuilt + warnings


def _is_parquet(path: Path) -> bool:
    try:
        with open_regular(path) as file:
            pq.read_schema(file)
    except (pa.ArrowException, OSError, ValueError):
        return False
    return True


def load_results(root: str, matrix: str | None = None) -> "pd.DataFrame":
    """Return the results of a folder as a pandas data frame with a row per run, read from the run folders.

    `kdbench.results.columns.COLUMNS` describes the columns.

    Args:
        root: the results folder.
        matrix: the name of a matrix: only its runs, under the labels that they have in it. None: all runs.

    Raises:
        ResultsError: the folder is missing, a newer kdbench wrote it, or it has no such matrix.
    """
    store = Store(root, create=False)
    if matrix is not None and matrix not in (names := [index.name for index in store.indexes()]):
        raise ResultsError(f"{root}: no matrix is called '{matrix}'; {did_you_mean(matrix, names)}")
    return to_frame(read_rows(store, matrix))


def to_frame(rows: list[Row]) -> "pd.DataFrame":
    """Return rows as a pandas data frame."""
    import pandas as pd

    return pd.DataFrame(rows, columns=None if rows else [*COLUMNS])


def to_arrow(rows: Iterable[Mapping[str, Any]], types: Mapping[str, pa.DataType]) -> pa.Table:
    """Return rows with different keys as a table.

    The columns of `types` come first. The type of any other column is inferred; values of mixed types become JSON.
    """
    rows = list(rows)
    keys = dict.fromkeys([*types, *(key for row in rows for key in row)])
    return pa.table({key: _column([row.get(key) for row in rows], types.get(key)) for key in keys})


def _column(values: list[Any], known: pa.DataType | None) -> pa.Array:
    if known is not None:
        return pa.array(values, known)
    mixes_booleans = len({isinstance(v, bool) for v in values if v is not None}) > 1  # Arrow takes true for 1.0
    has_tables = any(isinstance(value, dict) for v in values for value in (v if isinstance(v, list) else [v]))
    try:
        if not (mixes_booleans or has_tables):
            return pa.array(values)
    except (pa.ArrowException, OverflowError):
        pass
    return pa.array([None if v is None else json.dumps(v) if not isinstance(v, str) else v for v in values])


def _histories(store: Store) -> tuple[pa.Table, list[str]]:
    """Return the epochs of all runs, with a column `run_id`, and a warning for each corrupted history."""
    tables, warnings = [pa.table({"epoch": pa.array([], pa.int64()), "run_id": pa.array([], pa.string())})], []
    for run in store.run_ids():
        try:
            table = read_history(store, run)
        except ResultsError as error:
            reason = without_remedy(error)
            warnings.append(f"{reason}; left out of history.parquet; `kdbench reindex --deep` quarantines the run")
            continue
        tables.append(table.append_column("run_id", pa.array([run] * table.num_rows, pa.string())))
    return pa.concat_tables(tables, promote_options="permissive"), warnings


def _requests(store: Store, matrix: str | None) -> dict[str, list[Request]]:
    """Return the matrices, or the one matrix, and the cells that each run is part of."""
    requests: dict[str, list[Request]] = {}
    for index in store.indexes():
        if matrix not in (None, index.name):
            continue
        for cell in index.cells:
            for seed, run in cell.runs.items():
                requests.setdefault(run, []).append((index.name, cell, int(seed)))
    return requests


def _row(store: Store, run_id: str, requests: list[Request], is_started: bool) -> Row:
    row: Row = dict.fromkeys(COLUMNS)
    result = store.result(run_id)
    row |= {"run_id": run_id, "status": store.state_by(result, run_id)}
    row["matrix"] = "; ".join(dict.fromkeys(matrix for matrix, _, _ in requests))
    row["label"] = "; ".join(dict.fromkeys(cell.label for _, cell, _ in requests))
    row["phase"] = "; ".join(dict.fromkeys(cell.phase for _, cell, _ in requests))
    if not is_started:
        _, cell, seed = requests[0]
        return row | _of_cell(cell, seed)
    try:
        row |= _of_spec(store.spec(run_id))
    except ResultsError as error:
        return row | {"error": str(error)}
    if result is None:
        return row
    row |= {"error": result.get("error"), "architecture": result.get("architecture")}
    row |= result.get("row", {})
    return row


def _of_cell(cell: IndexCell, seed: int) -> Row:
    """Return the row of a run that was never started; its teacher is left empty."""
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
        "numerics": spec.numerics,
        "needs": json.dumps({role: need.id for role, need in spec.needs}),
        "recipe": spec.recipe.canonical,
        "validation": spec.split.validation,
        "split_seed": spec.split.split_seed,
        **_of_hyperparameters(spec.hyperparameters),
    }


def _of_hyperparameters(hyperparameters: Mapping[str, Any]) -> Row:
    named = {f"param.{key}": value for key, value in hyperparameters.items()}
    return {"params": json.dumps(dict(hyperparameters), sort_keys=True), **named}
