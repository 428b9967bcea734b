"""A table in the terminal."""

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from kdbench.report.table import Cell, Table, one_line


def print_table(table: Table, console: Console) -> None:
    """Print title, table, caption and notes; markup in names is shown, not obeyed."""
    grid = Grid(title=Text(table.title), box=SIMPLE_HEAD, title_justify="left")
    for column in table.columns:
        title = f"{column.group}\n{column.title}" if column.group else column.title
        grid.add_column(Text(title), justify="right" if column.numeric else "left", vertical="top")
    for place, row in enumerate(table.rows, start=1):
        grid.add_row(*map(_cell, row), end_section=place == table.baselines)
    console.print(grid)
    for sentence in (table.caption, *table.notes):
        console.print(Text(sentence, style="dim"))


def _cell(cell: Cell) -> Text:
    return Text(one_line(cell.shown), style="bold" if cell.bold else "dim" if cell.missing else "")
