"""A table as text in one of four formats."""

import io
from typing import Literal, get_args

from kdbench.errors import ReportError
from kdbench.reporting import csv_file, latex, markdown
from kdbench.reporting.table import Table

Format = Literal["table", "markdown", "latex", "csv"]


def render(table: Table, format: Format = "table", width: int = 120) -> str:  # noqa: A002
    """Return a table as text that ends in a line break.

    Args:
        table: The table.
        format: "table" (plain text as the terminal shows it), "markdown", "latex" (booktabs) or "csv".
        width: Columns of the terminal; only "table" uses it.

    Raises:
        ReportError: The format is unknown.
    """
    if format == "table":
        return _as_printed(table, width)
    if format == "markdown":
        return markdown.render(table)
    if format == "latex":
        return latex.render(table)
    if format == "csv":
        return csv_file.render(table)
    raise ReportError(f"unknown format '{format}'; valid: {', '.join(get_args(Format))}")


def _as_printed(table: Table, width: int) -> str:
    from rich.console import Console

    from kdbench.reporting.console import print_table

    text = io.StringIO()
    print_table(table, Console(file=text, width=width, color_system=None))
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"
