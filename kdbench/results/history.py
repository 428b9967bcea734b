"""The history of a run: `history.parquet`, one row per epoch, a number in every column."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kdbench.formatting import count_of, format_bytes
from kdbench.results.files import corrupted
from kdbench.results.integrity import HISTORY, MAX_HISTORY
from kdbench.results.regular_files import read_regular

if TYPE_CHECKING:
    from kdbench.results.store import Store

EPOCH_TYPES: Mapping[str, pa.DataType] = {"epoch": pa.int64(), "lr": pa.float64(), "seconds": pa.float64()}
MAX_EPOCHS = 2**20
MAX_UNPACKED = 2**28  # bytes; a small file can hold many equal values


def read_history(store: "Store", run_id: str) -> pa.Table:
    """Return the epochs of a run, one row each; no rows if the run is not finished.

    Raises:
        ResultsError: the file is corrupted.
    """
    path = store.folder(run_id) / HISTORY
    try:
        return parse_history(read_regular(path, MAX_HISTORY))
    except FileNotFoundError:
        return pa.table({"epoch": pa.array([], pa.int64())})
    except (pa.ArrowException, OSError, ValueError) as error:
        raise corrupted(path, error) from None


def parse_history(content: bytes) -> pa.Table:
    """Return the epochs in the content of a `history.parquet`: `epoch` is int64, all other columns are double.

    Raises:
        ArrowException, OSError: it is no Parquet file.
        ValueError: a column has no numbers, occurs twice, or the table is too large.
    """
    with pq.ParquetFile(pa.BufferReader(content)) as file:
        types = _types(file.schema_arrow)
        _check_size(file.metadata)
        table = file.read(use_threads=False).cast(types)
    for name in table.column_names:
        if np.count_nonzero(~np.isfinite(table[name].to_numpy())) > table[name].null_count:  # null is NaN in NumPy
            raise ValueError(f"the column {name!r} has numbers that are NaN or infinite")
    return table.replace_schema_metadata(None)


def _types(found: pa.Schema) -> pa.Schema:
    names = found.names
    for name, kind in zip(names, found.types, strict=True):
        if names.count(name) > 1:
            raise ValueError(f"the column {name!r} occurs {names.count(name)} times")
        if name == "run_id":
            raise ValueError("the column 'run_id' is that of the table of all runs")
        may_be_float = pa.types.is_null(kind) or (pa.types.is_floating(kind) and name != "epoch")
        if not (pa.types.is_integer(kind) or may_be_float):
            raise ValueError(f"the column {name!r} must have numbers, got the type {kind}")
    return pa.schema([(name, EPOCH_TYPES.get(name, pa.float64())) for name in names])


def _check_size(metadata: pq.FileMetaData) -> None:
    if metadata.num_rows > MAX_EPOCHS:
        raise ValueError(f"has {count_of(metadata.num_rows, 'epoch')}, at most {MAX_EPOCHS} are read")
    size = sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))
    if size > MAX_UNPACKED:
        raise ValueError(f"has {format_bytes(size)} unpacked, at most {format_bytes(MAX_UNPACKED)} are read")
