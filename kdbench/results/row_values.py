"""Check the values of a result or a timing against the types and ranges of their columns."""

import math
from collections.abc import Collection, Mapping
from typing import Any

from kdbench.results.columns import COLUMNS, DERIVED, METRICS, Column

ROUNDING = 1e-6  # how far a computed fraction may lie outside its range
MAX_INT = 2**63 - 1
MAX_EXACT = 2**53  # integers up to here are exact as double

SCORES = {f"{split}_{metric}": COLUMNS[f"{split}_{metric}"] for split in ("val", "test") for metric in METRICS}
NOT_EMPTY = frozenset({*SCORES, *(f"{name}_best" for name in SCORES)})  # of a run that is done
MEASURED: Mapping[str, Column] = {  # what a result.json may have; further columns must be scalars
    **{name: column for name, column in COLUMNS.items() if name not in DERIVED},
    **{f"{name}_best_test": column for name, column in SCORES.items()},
}
DEPLOYED: Mapping[str, Column] = {"parameters": COLUMNS["parameters"], **SCORES}  # of each further network
TIMED: Mapping[str, Column] = {
    name: column for name, column in COLUMNS.items() if name.startswith(("inference_ms", "timing_", "throughput"))
}


def result_values_corruption(result: Mapping[str, Any]) -> str | None:
    """Return why the row or the scores of the further networks of a result are corrupted, or None.

    The scores of a run that is done may not be empty.
    """
    for name, scores in result.get("deployed", {}).items():
        if not isinstance(scores, dict):
            return f"the scores of {name!r} in result.json are not a dict"
        unknown = next((f"{key!r} in result.json is no score" for key in scores if key not in DEPLOYED), None)
        reason = unknown or values_corruption(scores, DEPLOYED, scores)
        if reason is not None:
            return reason
    return values_corruption(result.get("row", {}), MEASURED, NOT_EMPTY if result["status"] == "done" else ())


def values_corruption(row: Mapping[str, Any], columns: Mapping[str, Column], not_empty: Collection[str]) -> str | None:
    """Return why a row is corrupted, or None: the first column whose value has another type or range.

    Args:
        row: the values by column; those of unknown columns must be scalars.
        columns: the known columns.
        not_empty: the columns that may be missing, but not empty.
    """
    for name, value in row.items():
        column = columns.get(name)
        if column is None and (name in DERIVED or name.startswith("param.")):
            return f"result.json must not have the column {name!r}, which comes from elsewhere"
        if value is None:
            if name in not_empty:
                return f"{name} is empty"
        elif column is None:
            if not isinstance(value, str | int | float):
                return f"{name!r} must be a number, text, true or false, got {value!r}"
        elif not _is_valid(value, column):
            return f"{name} must be {_describe(column)}, got {value!r}"
    return None


def _is_valid(value: object, column: Column) -> bool:
    if column.type == "string":
        return isinstance(value, str) and value.isprintable()
    if column.type == "bool" or isinstance(value, bool):
        return column.type == "bool" and isinstance(value, bool)
    if column.type == "int64":
        return isinstance(value, int) and 0 <= value <= MAX_INT
    if not isinstance(value, int | float) or (isinstance(value, int) and value > MAX_EXACT):
        return False
    return -ROUNDING <= value <= column.highest + ROUNDING and value != math.inf


def _describe(column: Column) -> str:
    if column.type == "string":
        return "one line of printable text"
    if column.type == "bool":
        return "true or false"
    if column.type == "int64":
        return "an integer from 0 to 2^63 - 1"
    return "a finite number of at least 0" if math.isinf(column.highest) else f"a number from 0 to {column.highest:g}"
