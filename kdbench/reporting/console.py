"""A table in the terminal."""

from collections.abc import Sequence
from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from kdbench.reporting.table import Column, Table, TableCell, one_line

GAP = 3  # between columns


def print_table(table: Table, console: Console) -> None:
    """Print title, table, caption and notes; markup in names is shown, not obeyed.

    Where the columns do not fit beside one another, the table goes on below, with its first column again.
    """
    for place, block in enumerate(_blocks(table, console.width)):
        console.print(_grid(table, block, table.title if place == 0 else None))
    for sentence in (table.caption, *table.notes):
        console.print(Text(sentence, style="dim"))
    if table.configurations:
        console.print(Text("Hyperparameters:", style="dim"))
        for line in table.configurations:
            console.print(Padding(Text(line, style="dim"), (0, 0, 0, 2), expand=False))


def _blocks(table: Table, room: int) -> list[list[int]]:
    """The columns that fit beside one another, those that name a row in every block."""
    widths = [GAP + _width(table, place) for place in range(len(table.columns))]
    keys = list(table.keys)
    first = min(sum(widths[place] for place in keys), room // 2)
    blocks, used = [[*keys]], first
    for place in (place for place in range(len(widths)) if place not in keys):
        if used + widths[place] > room and len(blocks[-1]) > len(keys):
            blocks.append([*keys])
            used = first
        blocks[-1].append(place)
        used += widths[place]
    return blocks


def _width(table: Table, place: int) -> int:
    return max(map(cell_len, [*_title(table.columns[place]).split("\n"), *(row[place].shown for row in table.rows)]))


def _grid(table: Table, block: Sequence[int], title: str | None) -> Grid:
    grid = Grid(title=None if title is None else Text(title), box=SIMPLE_HEAD, title_justify="left")
    for place in block:
        column = table.columns[place]
        justify: Literal["left", "right"] = "right" if column.numeric else "left"
        grid.add_column(Text(_title(column)), justify=justify, vertical="top", no_wrap=column.numeric)
    for number, row in enumerate(table.rows, start=1):
        grid.add_row(*(_cell(row[place]) for place in block), end_section=number == table.baselines)
    return grid


def _title(column: Column) -> str:
    return f"{column.group}\n{column.title}" if column.group else column.title


def _cell(cell: TableCell) -> Text:
    return Text(one_line(cell.shown), style="bold" if cell.bold else "dim" if cell.missing else "")
