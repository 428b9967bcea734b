"""A table as Markdown that is also printable as plain text."""

import re

from rich.cells import cell_len

from kdbench.reporting.table import Table, TableCell, one_line

ACTIVE = re.compile(r"[\\`*<&\[\]|~]|(?<![^\W_])_|_(?![^\W_])")  # an underscore inside a word is only an underscore


def render(table: Table) -> str:
    """Title, caption, table with aligned pipes, notes; ends in a line break."""
    parts = [f"## {escape(table.title)}", escape(table.caption), grid(table), *map(escape, table.notes)]
    if table.configurations:
        parts += ["Hyperparameters:", "\n".join(f"- {escape(line)}" for line in table.configurations)]
    return "\n\n".join(parts) + "\n"


def grid(table: Table) -> str:
    """The table alone, its pipes aligned."""
    lines = [[escape(column.full_title) for column in table.columns], *([_cell(c) for c in row] for row in table.rows)]
    widths = [max(3, *(cell_len(line[place]) for line in lines)) for place in range(len(table.columns))]
    numeric = [column.numeric for column in table.columns]
    rule = ["-" * (width - 1) + ":" if right else "-" * width for width, right in zip(widths, numeric, strict=True)]
    head, *body = [
        [_pad(text, width, right) for text, width, right in zip(line, widths, numeric, strict=True)] for line in lines
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *body))


def escape(text: str) -> str:
    """Text on one line in which no character is markup."""
    return ACTIVE.sub(lambda found: f"\\{found[0]}", one_line(text))


def _cell(cell: TableCell) -> str:
    text = escape(cell.shown)
    return f"**{text}**" if cell.bold and text else text


def _pad(text: str, width: int, right: bool) -> str:
    space = " " * (width - cell_len(text))
    return space + text if right else text + space
