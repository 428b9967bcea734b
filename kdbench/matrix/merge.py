"""Merging of TOML tables."""

from collections.abc import Mapping
from typing import Any


def merge_tables(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with the keys of `top`: tables are merged, other values are replaced.

    A table with another `name` (`optimizer = { name = "adamw" }` over `sgd`) replaces the table below it, because the
    two have different keys.

    >>> merge_tables({"a": {"x": 1, "y": [1]}}, {"a": {"y": [2]}})
    {'a': {'x': 1, 'y': [2]}}
    """
    merged = dict(base)
    for key, value in top.items():
        below = _table(merged.get(key))
        if (
            isinstance(value, Mapping)
            and below is not None
            and value.get("name", below.get("name")) == below.get("name")
        ):
            merged[key] = merge_tables(below, value)
        else:
            merged[key] = value
    return merged


def _table(value: object) -> Mapping[str, Any] | None:
    """Return a table, also for the name that is short for one; None for any other value."""
    if isinstance(value, str):
        return {"name": value}
    return value if isinstance(value, Mapping) else None
