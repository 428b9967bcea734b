"""A table before it is rendered: plain text and numbers, no markup."""

from dataclasses import dataclass
from typing import final

NOTHING = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
INCOMPLETE = "†"


@final
@dataclass(frozen=True)
class Unit:
    """How a number is written: times `scale`, with `digits` decimals; without digits, as a count in a humane form."""

    scale: float = 1.0
    digits: int | None = None
    signed: bool = False

    def text(self, value: float) -> str:
        """The number in this unit, with a true minus sign.

        >>> PERCENT.text(0.71234), POINTS.text(-0.005), COUNT.text(2_260_000)
        ('71.23', '−0.50', '2.26 M')
        """
        if self.digits is None:
            return humane(value * self.scale)
        sign = "+" if self.signed else ""
        return f"{value * self.scale:{sign}z.{self.digits}f}".replace("-", MINUS)


PERCENT = Unit(scale=100, digits=2)
POINTS = Unit(scale=100, digits=2, signed=True)
MILLISECONDS = Unit(digits=3)
COUNT = Unit()


def humane(count: float) -> str:
    """A count with three significant digits: 512, 3.8 k, 2.26 M, 1.5 B."""
    for factor, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= 0.9995 * factor:
            return f"{count / factor:.3g} {letter}"
    return f"{count:.0f}"


def one_line(text: str) -> str:
    """Text on one line, without characters that a terminal would obey."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


@final
@dataclass(frozen=True)
class Cell:
    """Text, or a mean over `n` runs with its spread."""

    text: str = ""
    mean: float | None = None
    spread: float | None = None
    n: int = 0
    unit: Unit = COUNT
    best: bool = False
    tied: bool = False  # not distinguishable from the best
    missing: bool = False  # there is no result; the text says why
    incomplete: bool = False  # fewer runs than planned

    @property
    def bold(self) -> bool:
        """Whether it stands out: the best, and what is not distinguishable from it."""
        return self.best or self.tied

    @property
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

    @property
    def full_title(self) -> str:
        """Group and title on one line."""
        title = self.title.replace("\n", " ")
        return f"{self.group}: {title}" if self.group else title


@final
@dataclass(frozen=True)
class Table:
    """A table; `name` is the stem of its files, and the first `baselines` rows are set apart."""

    name: str
    title: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    baselines: int = 0
