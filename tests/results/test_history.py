"""A history has unique columns of finite numbers; anything else is corrupted."""

import io
import math
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kdbench.errors import ResultsError
from kdbench.matrix import RunSpec
from kdbench.results import Store
from kdbench.results.history import parse_history, read_history
from kdbench.results.integrity import checksums
from kdbench.results.table import export

ONE = pa.array([1])


def as_bytes(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def test_numbers_are_converted_to_two_types() -> None:
    table = pa.table({"epoch": pa.array([1], pa.int32()), "loss": [2], "lr": [0.5], "val_nll": pa.array([None])})
    found = parse_history(as_bytes(table))
    assert dict(zip(found.column_names, found.schema.types, strict=True)) == {
        "epoch": pa.int64(),
        **dict.fromkeys(("loss", "lr", "val_nll"), pa.float64()),
    }
    assert found.to_pylist() == [{"epoch": 1, "loss": 2.0, "lr": 0.5, "val_nll": None}]
    assert parse_history(as_bytes(table.slice(0, 0))).num_rows == 0


WRONG: list[tuple[pa.Table, str]] = [
    (pa.table([ONE, ONE], names=["epoch", "epoch"]), "the column 'epoch' occurs 2 times"),
    (pa.table([ONE, ONE], names=["epoch", "run_id"]), "the column 'run_id' is that of the table of all runs"),
    (pa.table({"epoch": ["1"]}), "the column 'epoch' must have numbers, got the type string"),
    (pa.table({"epoch": [1.0]}), "the column 'epoch' must have numbers, got the type double"),
    (pa.table({"lr": [True]}), "the column 'lr' must have numbers, got the type bool"),
    (pa.table({"lr": [[0.5]]}), "the column 'lr' must have numbers, got the type list"),
    (pa.table({"lr": [{"a": 0.5}]}), "the column 'lr' must have numbers, got the type struct"),
    (pa.table({"epoch": pa.array([2**63], pa.uint64())}), "Integer value 9223372036854775808 not in range"),
    (pa.table({"lr": [math.nan]}), "the column 'lr' has numbers that are NaN or infinite"),
    (pa.table({"lr": [math.inf]}), "the column 'lr' has numbers that are NaN or infinite"),
    (pa.table({"epoch": pa.array([1] * 2_000_000)}), "has 2000000 epochs, at most 1048576 are read"),
]


@pytest.mark.parametrize(("table", "why"), WRONG)
def test_any_other_table_is_corrupted_and_left_out(
    store: Store, teacher: RunSpec, finished: Callable[..., None], table: pa.Table, why: str
) -> None:
    finished(store, teacher)
    path = store.folder(teacher.id) / "history.parquet"
    path.write_bytes(as_bytes(table))
    with pytest.raises(ResultsError) as caught:
        read_history(store, teacher.id)
    assert str(caught.value).startswith(f"{path}: corrupted ({why}")
    assert len(str(caught.value).splitlines()) == 1
    result = store.result(teacher.id) or {}
    store.write_result(teacher.id, {**result, "files": checksums(path.parent)})
    assert (store.corruption(teacher.id, deep=True) or "").startswith(f"history.parquet cannot be read ({why}")
    (warning,) = export(store)[1]
    assert why in warning


def test_a_history_of_another_number_of_epochs_is_corrupted(
    store: Store, teacher: RunSpec, finished: Callable[..., None]
) -> None:
    finished(store, teacher, epochs_run=2)
    assert store.corruption(teacher.id) is None
    assert store.corruption(teacher.id, deep=True) == "history.parquet has 1 epoch, expected 2"


def test_histories_with_different_columns_make_one_table(
    store: Store, student: Callable[..., RunSpec], finished: Callable[..., None]
) -> None:
    rows: list[dict[str, Any]] = [{"epoch": [1], "loss": [2]}, {"epoch": [1], "loss": [0.5]}, {"epoch": [1]}]
    for seed, row in enumerate(rows):
        finished(store, student(seed))
        pq.write_table(pa.table(row), store.folder(student(seed).id) / "history.parquet")
    assert export(store)[1] == []
    assert sorted(pq.read_table(store.root / "history.parquet")["loss"].to_pylist(), key=str) == [0.5, 2.0, None]
