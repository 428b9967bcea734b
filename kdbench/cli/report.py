"""`kdbench report`: write reports and print their accuracy tables."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from kdbench.cli.console import make_console, print_line
from kdbench.errors import StorageError
from kdbench.reporting import Format, Report, Selection, Table, TableCell, render, write_report
from kdbench.reporting.formats.terminal import print_table
from kdbench.results import Store
from kdbench.results.integrity import corrupted_indexes

if TYPE_CHECKING:
    import pandas as pd


def write_reports(
    names: Sequence[str], results: Path, reports: Path, selection: Selection, console: Console
) -> tuple[Report, ...]:
    """Write the reports of some or all matrices, and print notes on corrupted files to `console`.

    Raises:
        ReportError: no matrix has been run, a name is unknown, or a report cannot be written.
    """
    frame, notes = _update_tables(Store(results, create=False))
    written = write_report(results, reports, names, selection, frame)
    for note in notes:
        print_line(console, f"note: {note}", style="yellow")
    return written


def print_reports(reports: Sequence[Report], text_format: Format, console: Console) -> None:
    """Print the accuracy table and the path of each report.

    In a format other than "table" the path goes to stderr, so that stdout can be redirected to a file.
    """
    paths = console if text_format == "table" else make_console(stderr=True)
    for position, report in enumerate(reports):
        if text_format == "table":
            print_table(report.accuracy, console)
        else:
            separator = "\n" if position else ""
            console.out(f"{separator}{render(report.accuracy, text_format)}", end="", highlight=False)
        print_line(paths, f"report: {report.paths[0]}")


def print_reports_as_json(reports: Sequence[Report], console: Console) -> None:
    """Print the rows of the accuracy tables and the paths of the reports by the name of the matrix."""
    console.print_json(
        data={
            report.matrix: {
                "report": str(report.paths[0]),
                "title": report.accuracy.title,
                "rows": _rows(report.accuracy),
            }
            for report in reports
        }
    )


def _update_tables(store: Store) -> tuple["pd.DataFrame", list[str]]:
    """Rebuild the Parquet files if the folder is writable; return the runs, and notes on corrupted files."""
    from kdbench.results.table import export, read_rows, to_frame

    try:
        found, notes = export(store)
    except StorageError as error:
        found, notes = read_rows(store), [f"results.parquet and history.parquet were not updated: {error}"]
    return to_frame(found), [*notes, *corrupted_indexes(store).values()]


def _rows(table: Table) -> list[dict[str, Any]]:
    titles = [column.full_title for column in table.columns]
    numeric = [column.is_numeric for column in table.columns]
    return [
        {
            title: _number(cell) if is_number else cell.text
            for title, is_number, cell in zip(titles, numeric, row, strict=True)
        }
        | {"notes": list(table.row_notes(row))}
        for row in table.rows
    ]


def _number(cell: TableCell) -> dict[str, Any]:
    if cell.mean is None:
        return {"mean": None, "std": None, "interval": None, "n": 0, "flags": list(cell.flags), "text": cell.text}
    scale = cell.unit.scale
    interval = cell.interval and [cell.interval.low * scale, cell.interval.high * scale]
    return {
        "mean": cell.mean * scale,
        "std": None if cell.std is None else cell.std * scale,
        "interval": interval,
        "n": cell.n,
        "flags": list(cell.flags),
        "text": cell.display,
    }
