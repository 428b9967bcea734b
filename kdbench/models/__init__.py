"""Networks by name: `FAMILIES` is the table of contents."""

from kdbench.models.build import (
    FAMILIES,
    Family,
    build,
    build_spec,
    catalog,
    check,
    check_start,
    identified,
    source_hash,
    start_spec,
)

__all__ = [
    "FAMILIES",
    "Family",
    "build",
    "build_spec",
    "catalog",
    "check",
    "check_start",
    "identified",
    "source_hash",
    "start_spec",
]
