"""A table as Markdown that is also readable as plain text."""

import re

from rich.cells import cell_len

from kdbench.reporting.table import Table, TableCell, one_line, superscript

MARKUP = re.compile(r"[\\`*<&\[\]|~]|(?<![^\W_])_|_(?![^\W_])")  # an underscore inside a word is not markup


def render_markdown(table: Table, is_alone: bool = True) -> str:
    """Return title, caption, table with aligned pipes, footnotes, notes and hyperparameters; ends in a line break.

    Args:
        table: the table.
        is_alone: whether the lines of the protocol follow; a report has them once, at its head.
    """
    footnotes = [f"{superscript(mark)} {escape(text)}" for text, mark in table.footnotes.items()]
    protocol = table.protocol if is_alone else ()
    paragraphs = (*footnotes, *map(escape, (*table.notes, *protocol)))
    parts = [f"## {escape(table.title)}", escape(table.caption), render_grid(table), *paragraphs]
    if table.configurations:
        parts += ["Hyperparameters:", "\n".join(f"- {escape(line)}" for line in table.configurations)]
    return "\n\n".join(parts) + "\n"


def render_grid(table: Table) -> str:
    """Return the table alone, with aligned pipes."""
    header = [escape(column.full_title) + superscript(table.marks(column)) for column in table.columns]
    lines = [header, *([_text(cell, table.marks(cell)) for cell in row] for row in table.rows)]
    widths = [max(3, *(cell_len(line[position]) for line in lines)) for position in range(len(table.columns))]
    right = [column.is_numeric for column in table.columns]
    header, *body = [
        [_pad(text, width, align) for text, width, align in zip(line, widths, right, strict=True)] for line in lines
    ]
    rule = ["-" * (width - 1) + ":" if align else "-" * width for width, align in zip(widths, right, strict=True)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, rule, *body))


def escape(text: str) -> str:
    """Return text on one line, with a backslash before every character that is markup."""
    return MARKUP.sub(lambda match: f"\\{match[0]}", one_line(text))


def _text(cell: TableCell, marks: str) -> str:
    text = escape(cell.display) if cell.mean is None else cell.display  # brackets of an interval are no link
    return (f"**{text}**" if cell.is_bold and text else text) + superscript(marks)


def _pad(text: str, width: int, align_right: bool) -> str:
    spaces = " " * (width - cell_len(text))
    return spaces + text if align_right else text + spaces
