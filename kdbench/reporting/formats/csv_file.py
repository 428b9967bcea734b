"""A table as CSV: a numeric column becomes mean, standard deviation, 95 % interval, number of runs and flags."""

import csv
import io
from collections.abc import Iterator

from kdbench.reporting.table import Column, Table, TableCell


def render_csv(table: Table) -> str:
    """Return a header line and the rows.

    Numbers are not rounded and in the unit that the title names. A cell without a result holds the reason. Only a
    column of gains has columns for the bounds of intervals. The last column has the footnotes of each row, if there are
    any.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    notes = ["notes"] if table.footnotes else []
    writer.writerow([*(title for column in table.columns for title in _titles(column)), *notes])
    for row in table.rows:
        values = [v for cell, column in zip(row, table.columns, strict=True) for v in _values(cell, column)]
        writer.writerow([*values, *("; ".join(table.row_notes(row)) for _ in notes)])
    return text.getvalue()


def _titles(column: Column) -> Iterator[str]:
    yield column.full_title
    if column.is_numeric:
        bounds = ("95 % low", "95 % high") if column.has_intervals else ()
        yield from (f"{column.full_title}, {suffix}" for suffix in ("std", *bounds, "n", "flags"))


def _values(cell: TableCell, column: Column) -> Iterator[str]:
    if not column.is_numeric:
        yield cell.text.replace("\r", " ")  # csv.writer does not quote a lone carriage return
        return
    scale = cell.unit.scale
    yield cell.text if cell.mean is None else repr(cell.mean * scale)
    yield "" if cell.std is None else repr(cell.std * scale)
    if column.has_intervals:
        bounds = (cell.interval.low, cell.interval.high) if cell.interval else ()
        yield from (repr(bound * scale) for bound in bounds) if bounds else ("", "")
    yield "" if cell.mean is None else str(cell.n)
    yield " ".join(cell.flags)
