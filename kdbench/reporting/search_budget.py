"""How many configurations each row tried."""

from collections.abc import Sequence

from kdbench.reporting.rows import Row

UNEQUAL = "unequal search budgets: a row that tried more configurations had more chances to find a good one"

TRIED = "Tried: the number of configurations."


def has_search(rows: Sequence[Row]) -> bool:
    """Return whether any row tried several configurations."""
    return any(len(choice.candidates) > 1 for row in rows for choice in row.choices.values())


def count_tried(row: Row) -> str:
    """Return the number of configurations that a row tried, as a range if pairs differ; empty for a teacher."""
    counts = _counts(row)
    if not counts:
        return ""
    return str(counts[0]) if counts[0] == counts[-1] else f"{counts[0]} to {counts[-1]}"


def search_notes(rows: Sequence[Row]) -> tuple[str, ...]:
    """Return a footnote if the rows of students tried different numbers of configurations."""
    return (UNEQUAL,) if len({count for row in rows for count in _counts(row)}) > 1 else ()


def _counts(row: Row) -> list[int]:
    if row.kind == "teacher":
        return []
    return sorted(len(choice.candidates) for choice in row.choices.values() if choice.candidates)
