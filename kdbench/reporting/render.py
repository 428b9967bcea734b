"""A table as text in one of four formats."""

import io
from typing import Literal, get_args

from kdbench.errors import ReportError
from kdbench.reporting.formats.csv_file import render_csv
from kdbench.reporting.formats.latex import render_latex
from kdbench.reporting.formats.markdown import render_markdown
from kdbench.reporting.table import Table

Format = Literal["table", "markdown", "latex", "csv"]


def render(table: Table, format: Format = "table", width: int = 120) -> str:  # noqa: A002
    """Return a table as text that ends in a line break.

    Args:
        table: the table.
        format: "table" (plain text as the terminal shows it), "markdown", "latex" (booktabs) or "csv".
        width: columns of the terminal; only "table" uses it.

    Raises:
        ReportError: the format is unknown.
    """
    if format == "table":
        return _as_terminal_text(table, width)
    if format == "markdown":
        return render_markdown(table)
    if format == "latex":
        return render_latex(table)
    if format == "csv":
        return render_csv(table)
    raise ReportError(f"unknown format '{format}'; valid: {', '.join(get_args(Format))}")


def _as_terminal_text(table: Table, width: int) -> str:
    from rich.console import Console

    from kdbench.reporting.formats.terminal import print_table

    text = io.StringIO()
    print_table(table, Console(file=text, width=width, color_system=None))
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n"
