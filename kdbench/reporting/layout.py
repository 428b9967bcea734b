"""How a table is set in print so that it fits between the margins of an article."""

import math
from dataclasses import dataclass
from typing import final

from kdbench.reporting.table import Column, Table, TableCell

LINE = 345.0  # points: a line of article at 10 pt on letter paper, narrower than that of most classes
LETTERS = 62  # of a printed line in the type of a table, for cells that wrap
TITLE = 12  # letters of a heading that stay on one line


@final
@dataclass(frozen=True)
class Layout:
    """The type, and the points that a letter and either side of a column take in it."""

    size: str
    letter: float
    gap: int
    compact: bool = False  # the spread as a subscript of the mean


LAYOUTS = (
    Layout("small", 4.7, 5),
    Layout("footnotesize", 4.3, 4),
    Layout("scriptsize", 4.0, 3),
    Layout("footnotesize", 4.3, 3, compact=True),
    Layout("scriptsize", 3.9, 2, compact=True),
)


def layout(table: Table) -> tuple[Layout, tuple[tuple[int, ...], ...]]:
    """The largest type in which a table fits, and its columns; where none does, in blocks that stand below each other.

    Tables of text are not taken apart: their columns wrap.
    """
    every = tuple(range(len(table.columns)))
    for one in LAYOUTS:
        if sum(_width(table, place, one) for place in every) <= LINE:
            return one, (every,)
    if any(column.width for column in table.columns):
        return LAYOUTS[-1], (every,)
    return min(((one, _blocks(table, one)) for one in LAYOUTS[1:]), key=lambda found: len(found[1]))


def lines(cell: TableCell, column: Column) -> int:
    """About how many printed lines a cell takes."""
    return math.ceil(len(cell.shown) / (LETTERS * column.width)) if column.width else 1


def headings(column: Column) -> list[str]:
    """The lines of a column's title; where it names a hyperparameter, a long name is broken at its joints."""
    given = column.title.split("\n")
    return given if column.numeric else [part for line in given for part in _parts(line)]


def _parts(line: str) -> list[str]:
    if len(line) <= TITLE:
        return [line]
    head, *rest = line.replace("_", "_\n").replace(".", ".\n").split("\n")
    parts = [head]
    for piece in rest:
        if len(parts[-1]) + len(piece) <= TITLE:
            parts[-1] += piece
        else:
            parts.append(piece)
    return parts


def _blocks(table: Table, one: Layout) -> tuple[tuple[int, ...], ...]:
    """The columns that fit beside one another, those that name a row in every block."""
    keys = table.keys
    first = sum(_width(table, place, one) for place in keys)
    blocks, used = [keys], first
    for place in (place for place in range(len(table.columns)) if place not in keys):
        width = _width(table, place, one)
        if used + width > LINE and blocks[-1] != keys:
            blocks.append(keys)
            used = first
        blocks[-1] = (*blocks[-1], place)
        used += width
    return tuple(blocks)


def _width(table: Table, place: int, one: Layout) -> float:
    column = table.columns[place]
    if column.width:
        return column.width * LINE + 2 * one.gap
    letters = [*map(len, headings(column)), *(_letters(row[place], one) for row in table.rows)]
    return max(letters) * one.letter + 2 * one.gap


def _letters(cell: TableCell, one: Layout) -> int:
    """A spread as a subscript loses two spaces."""
    return len(cell.shown) - (2 if one.compact and cell.mean is not None and cell.spread is not None else 0)
