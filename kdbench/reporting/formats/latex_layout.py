"""The size of a LaTeX table: type, gaps and columns that fit between the margins of an article."""

import math
from dataclasses import dataclass
from typing import final

from kdbench.reporting.table import Column, Table, TableCell

LINE_WIDTH = 345.0  # points: \linewidth of article at 10 pt on letter paper, narrower than that of most classes
LINE_LETTERS = 62  # letters of a printed line, for cells that wrap
HEADING_LETTERS = 12  # a longer name of a hyperparameter is broken in a heading


@final
@dataclass(frozen=True)
class Layout:
    """A size of type, with the width of a letter and the gap at either side of a column, in points."""

    size: str
    letter_width: float
    gap: int
    is_compact: bool = False  # standard deviations are subscripts of the means


LAYOUTS = (
    Layout("small", 4.7, 5),
    Layout("footnotesize", 4.3, 4),
    Layout("scriptsize", 4.0, 3),
    Layout("footnotesize", 4.3, 3, is_compact=True),
    Layout("scriptsize", 3.9, 2, is_compact=True),
)


def choose_layout(table: Table) -> tuple[Layout, tuple[tuple[int, ...], ...]]:
    """Return the largest layout in which a table fits, and the positions of the columns of each block.

    There is one block if the table fits; otherwise the blocks are printed below each other. A table with columns that
    wrap is never split.
    """
    positions = tuple(range(len(table.columns)))
    for layout in LAYOUTS:
        if sum(_width(table, position, layout) for position in positions) <= LINE_WIDTH:
            return layout, (positions,)
    if any(column.width for column in table.columns):
        return LAYOUTS[-1], (positions,)
    return min(((layout, _blocks(table, layout)) for layout in LAYOUTS[1:]), key=lambda found: len(found[1]))


def count_lines(cell: TableCell, column: Column) -> int:
    """Return an estimate of the number of printed lines of a cell."""
    return math.ceil(len(cell.display) / (LINE_LETTERS * column.width)) if column.width else 1


def heading_lines(column: Column) -> list[str]:
    """Return the lines of a column's title; a long name of a hyperparameter is broken after "_" and "."."""
    lines = column.title.split("\n")
    return lines if column.is_numeric else [part for line in lines for part in _break(line)]


def _break(line: str) -> list[str]:
    if len(line) <= HEADING_LETTERS:
        return [line]
    first, *rest = line.replace("_", "_\n").replace(".", ".\n").split("\n")
    parts = [first]
    for piece in rest:
        if len(parts[-1]) + len(piece) <= HEADING_LETTERS:
            parts[-1] += piece
        else:
            parts.append(piece)
    return parts


def _blocks(table: Table, layout: Layout) -> tuple[tuple[int, ...], ...]:
    keys = table.key_columns
    key_width = sum(_width(table, position, layout) for position in keys)
    blocks, used = [keys], key_width
    for position in (position for position in range(len(table.columns)) if position not in keys):
        width = _width(table, position, layout)
        if used + width > LINE_WIDTH and blocks[-1] != keys:
            blocks.append(keys)
            used = key_width
        blocks[-1] = (*blocks[-1], position)
        used += width
    return tuple(blocks)


def _width(table: Table, position: int, layout: Layout) -> float:
    column = table.columns[position]
    if column.width:
        return column.width * LINE_WIDTH + 2 * layout.gap
    heading = len(table.marks(column)) + max(map(len, heading_lines(column)))
    cells = [row[position] for row in table.rows]
    letters = [heading, *(_count_letters(cell, layout) + len(table.marks(cell)) for cell in cells)]
    return max(letters) * layout.letter_width + 2 * layout.gap


def _count_letters(cell: TableCell, layout: Layout) -> int:
    has_subscript = layout.is_compact and cell.std is not None and cell.interval is None
    return len(cell.display) - (2 if has_subscript else 0)  # without the spaces around ±
