from dataclasses import replace

from kdbench.matrix import RunSpec
from kdbench.numerics import NUMERICS
from kdbench.results import Store
from kdbench.results.columns import COLUMNS, METRICS
from kdbench.results.table import read_rows


def test_every_column_has_a_description() -> None:
    assert all(column.description for column in COLUMNS.values())


def test_a_row_has_every_column_in_order(store: Store, teacher: RunSpec) -> None:
    store.write_spec(teacher)
    (row,) = read_rows(store)
    assert list(row)[: len(COLUMNS)] == list(COLUMNS)


def test_a_row_has_the_version_of_the_numbers_that_planned_the_run(store: Store, teacher: RunSpec) -> None:
    other = replace(teacher, numerics=teacher.numerics + 1)
    for spec in (teacher, other):
        store.write_spec(spec)
    assert {row["run_id"]: row["numerics"] for row in read_rows(store)} == {
        teacher.id: NUMERICS,
        other.id: NUMERICS + 1,
    }


def test_every_metric_has_a_column_per_split_and_selection() -> None:
    names = {f"{split}_{metric}{suffix}" for split in ("val", "test") for metric in METRICS for suffix in ("", "_best")}
    assert names <= set(COLUMNS)
    assert {COLUMNS[name].type for name in names} == {"double"}
