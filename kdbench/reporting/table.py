"""A table before it is rendered: plain text and numbers, no markup."""

from dataclasses import dataclass
from functools import cached_property
from typing import final

from kdbench.formatting import format_count

NOTHING = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
INCOMPLETE = "†"


@final
@dataclass(frozen=True)
class Unit:
    """How a number is written: times `scale`, with `digits` decimals; without digits, as a count in a format_count form."""

    scale: float = 1.0
    digits: int | None = None
    signed: bool = False

    def text(self, value: float) -> str:
        """The number in this unit, with a true minus sign.

        >>> PERCENT.text(0.71234), POINTS.text(-0.005), COUNT.text(2_260_000)
        ('71.23', '−0.50', '2.26 M')
        """
        if self.digits is None:
            return format_count(value * self.scale)
        sign = "+" if self.signed else ""
        return f"{value * self.scale:{sign}z.{self.digits}f}".replace("-", MINUS)


PERCENT = Unit(scale=100, digits=2)
POINTS = Unit(scale=100, digits=2, signed=True)
MILLISECONDS = Unit(digits=3)
SECONDS = Unit(digits=1)
COUNT = Unit()


def one_line(text: str) -> str:
    """Text on one line, without characters that a terminal would obey."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


@final
@dataclass(frozen=True)
class TableCell:
    """Text, or a mean over `n` runs with its spread."""

    text: str = ""
    mean: float | None = None
    spread: float | None = None
    n: int = 0
    unit: Unit = COUNT
    best: bool = False
    tied: bool = False  # not distinguishable from the best
    chosen: bool = False  # of the configuration that stands for its label
    missing: bool = False  # there is no result; the text says why
    incomplete: bool = False  # fewer runs than planned

    @property
    def bold(self) -> bool:
        """Whether it stands out: the best and what is not distinguishable from it, or the chosen configuration."""
        return self.best or self.tied or self.chosen

    @cached_property
    def shown(self) -> str:
        """What a reader sees, without markup."""
        if self.mean is None:
            return self.text
        spread = "" if self.spread is None else f" ± {Unit(self.unit.scale, self.unit.digits).text(self.spread)}"
        flag = f" (n={self.n}){INCOMPLETE}" if self.incomplete else ""
        return f"{self.unit.text(self.mean)}{spread}{flag}"


@final
@dataclass(frozen=True)
class Column:
    """A column: its title (a line break may split it), the group it stands under, and how it is set."""

    title: str
    group: str = ""
    numeric: bool = True
    width: float = 0.0  # share of a printed line, for text that wraps; 0: as wide as what is in it
    groups: bool = False  # in print, a value is not repeated in the rows that follow with the same one
    key: bool = False  # names the row, as the first column and those that group do

    @property
    def full_title(self) -> str:
        """Group and title on one line."""
        title = self.title.replace("\n", " ")
        return f"{self.group}: {title}" if self.group else title


@final
@dataclass(frozen=True)
class Table:
    """A table; `name` is the stem of its files, and the first `baselines` rows are set apart.

    `configurations` has a line a method: the hyperparameters that its numbers were made with.
    """

    name: str
    title: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[TableCell, ...], ...]
    notes: tuple[str, ...] = ()
    configurations: tuple[str, ...] = ()
    baselines: int = 0

    @property
    def keys(self) -> tuple[int, ...]:
        """The places of the columns that name a row; a part of the table that stands below repeats them."""
        return tuple(n for n, column in enumerate(self.columns) if n == 0 or column.key or column.groups)
