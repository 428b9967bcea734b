"""How one table is laid over another."""

from collections.abc import Mapping
from typing import Any


def merge(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """`top` over `base`: tables merge, everything else replaces.

    A table that names something else (`optimizer = { name = "adamw" }` over `sgd`) replaces too: the keys of the one
    mean nothing to the other.

    >>> merge({"a": {"x": 1, "y": [1]}}, {"a": {"y": [2]}})
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
            merged[key] = merge(below, value)
        else:
            merged[key] = value
    return merged


def _table(value: object) -> Mapping[str, Any] | None:
    """A table, or the name that stands for one."""
    if isinstance(value, str):
        return {"name": value}
    return value if isinstance(value, Mapping) else None
