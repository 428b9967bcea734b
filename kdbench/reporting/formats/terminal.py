"""A table in the terminal."""

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from kdbench.reporting.table import Column, Table, TableCell, one_line, superscript

GAP = 3  # between columns


def print_table(table: Table, console: Console) -> None:
    """Print title, table, caption and notes; markup in names is printed as it is.

    If the columns do not fit side by side, the table is split into blocks, and every block repeats the key columns.
    """
    for n, block in enumerate(_blocks(table, console.width)):
        console.print(_rich_table(table, block, table.title if n == 0 else None))
    footnotes = (f"{superscript(mark)} {text}" for text, mark in table.footnotes.items())
    for sentence in (table.caption, *footnotes, *table.notes, *table.protocol):
        console.print(Text(sentence, style="dim"))
    if table.configurations:
        console.print(Text("Hyperparameters:", style="dim"))
        for line in table.configurations:
            console.print(Padding(Text(line, style="dim"), (0, 0, 0, 2), expand=False))


def _blocks(table: Table, width: int) -> list[list[int]]:
    """Return the positions of the columns of each block."""
    widths = [GAP + _width(table, position) for position in range(len(table.columns))]
    keys = list(table.key_columns)
    key_width = min(sum(widths[position] for position in keys), width // 2)
    blocks, used = [[*keys]], key_width
    for position in (position for position in range(len(widths)) if position not in keys):
        if used + widths[position] > width and len(blocks[-1]) > len(keys):
            blocks.append([*keys])
            used = key_width
        blocks[-1].append(position)
        used += widths[position]
    return blocks


def _width(table: Table, position: int) -> int:
    return max(cell_len(line) for text in _column_texts(table, position) for line in text.split("\n"))


def _rich_table(table: Table, block: Sequence[int], title: str | None) -> RichTable:
    rich_table = RichTable(title=None if title is None else Text(title), box=SIMPLE_HEAD, title_justify="left")
    texts = {position: _column_texts(table, position) for position in block}
    for position in block:
        title, is_numeric = texts[position][0], table.columns[position].is_numeric
        rich_table.add_column(Text(title), justify="left", vertical="top", no_wrap=is_numeric)
    for n, row in enumerate(table.rows, start=1):
        cells = (Text(texts[position][n], style=_style(row[position])) for position in block)
        rich_table.add_row(*cells, end_section=n == table.num_baselines)
    return rich_table


def _column_texts(table: Table, position: int) -> list[str]:
    """Return the title and the cells of a column; numbers are aligned at the right, in front of their marks."""
    column, cells = table.columns[position], [row[position] for row in table.rows]
    if not column.is_numeric:
        return [_title(table, column), *(_marked(table, cell) for cell in cells)]
    space = max((len(table.marks(cell)) for cell in cells), default=0)
    numbers = [_marked(table, cell) + " " * (space - len(table.marks(cell))) for cell in cells]
    lines = _title(table, column).split("\n")
    width = max(map(cell_len, [*numbers, *lines]))
    return ["\n".join(_pad_left(line, width) for line in lines), *(_pad_left(number, width) for number in numbers)]


def _pad_left(text: str, width: int) -> str:
    return " " * (width - cell_len(text)) + text


def _title(table: Table, column: Column) -> str:
    title = f"{column.group}\n{column.title}" if column.group else column.title
    return title + superscript(table.marks(column))


def _marked(table: Table, cell: TableCell) -> str:
    return one_line(cell.display) + superscript(table.marks(cell))


def _style(cell: TableCell) -> str:
    return "bold" if cell.is_bold else "dim" if cell.is_missing else ""
