"""A table before it is rendered: plain text and numbers, no markup."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import final

from kdbench.analysis import Interval
from kdbench.formatting import format_count

DASH = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
INCOMPLETE = "†"
UNTESTED = "‡"
FLAGS = ("best", "tied", "untested", "chosen", "missing", "incomplete")


@final
@dataclass(frozen=True)
class Unit:
    """How a number is written: multiplied by `scale`, with `digits` decimals, or as a short count without `digits`."""

    scale: float = 1.0
    digits: int | None = None
    has_sign: bool = False

    def format(self, value: float) -> str:
        """Return a number in this unit, with a minus sign instead of a hyphen.

        >>> PERCENT.format(0.71234), POINTS.format(-0.005), COUNT.format(2_260_000)
        ('71.23', '−0.50', '2.26 M')
        """
        if self.digits is None:
            return format_count(value * self.scale)
        sign = "+" if self.has_sign else ""
        return f"{value * self.scale:{sign}z.{self.digits}f}".replace("-", MINUS)


PERCENT = Unit(scale=100, digits=2)
POINTS = Unit(scale=100, digits=2, has_sign=True)
MILLISECONDS = Unit(digits=3)
SECONDS = Unit(digits=2)
COUNT = Unit()

LETTERS = "abcdefghijklmnoprstuvwxyz"  # of marks; Unicode has no superscript q
SUPERSCRIPTS = str.maketrans(LETTERS, "ᵃᵇᶜᵈᵉᶠᵍʰⁱʲᵏˡᵐⁿᵒᵖʳˢᵗᵘᵛʷˣʸᶻ")


def superscript(marks: str) -> str:
    """Return marks as superscript letters.

    >>> superscript("a,b")
    'ᵃ,ᵇ'
    """
    return marks.translate(SUPERSCRIPTS)


def _mark(number: int) -> str:
    """Return the mark of a footnote, counted from 0: "a" to "z" without "q", then "aa"."""
    more, last = divmod(number, len(LETTERS))
    return (_mark(more - 1) if more else "") + LETTERS[last]


def one_line(text: str) -> str:
    """Return text on one line, without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


@final
@dataclass(frozen=True)
class TableCell:
    """Text, or a mean over `n` runs with its sample standard deviation; a cell with an interval shows that instead."""

    text: str = ""
    mean: float | None = None
    std: float | None = None
    interval: Interval | None = None  # 95 %, of the mean
    n: int = 0
    unit: Unit = COUNT
    is_best: bool = False
    is_tied: bool = False  # cannot be excluded from being the best
    is_untested: bool = False  # not compared with the best, for a failed seed or too few seeds
    is_chosen: bool = False  # of the chosen configuration of its label
    is_missing: bool = False  # no result; the text gives the reason
    is_incomplete: bool = False  # fewer runs than planned
    hides_mean: bool = False  # shows the interval alone
    failures: str = ""  # such as "2 of 3 diverged", if the mean is over the others
    footnotes: tuple[str, ...] = ()  # texts; the table has the mark of each

    @property
    def is_bold(self) -> bool:
        """Whether the cell is the best, tied with the best, or of the chosen configuration."""
        return self.is_best or self.is_tied or self.is_chosen

    @property
    def flags(self) -> tuple[str, ...]:
        """The names of the flags that are set, without "is"."""
        return tuple(flag for flag in FLAGS if getattr(self, f"is_{flag}"))

    @cached_property
    def display(self) -> str:
        """The text or number as a reader sees it, without markup."""
        if self.mean is None:
            return self.text
        if self.hides_mean:
            return self._spread.strip()
        flag = f" ({self.failures or f'n={self.n}'}){INCOMPLETE}" if self.is_incomplete else ""
        return f"{self.unit.format(self.mean)}{self._spread}{flag}{UNTESTED if self.is_untested else ''}"

    @property
    def _spread(self) -> str:
        unit = Unit(self.unit.scale, self.unit.digits)
        if self.interval is not None:
            return f" [{unit.format(self.interval.low)}, {unit.format(self.interval.high)}]"
        return "" if self.std is None else f" ± {unit.format(self.std)}"


@final
@dataclass(frozen=True)
class Column:
    """A column: its title (may have line breaks), the group above the title, and how it is set."""

    title: str
    group: str = ""
    is_numeric: bool = True
    width: float = 0.0  # share of a printed line, for text that wraps; 0: as wide as its content
    hides_repeats: bool = False  # in print, a value equal to the one above is left blank
    has_intervals: bool = False  # its numbers have intervals where there are enough seeds
    is_key: bool = False  # names the row, as the first column and those with `hides_repeats` do
    footnotes: tuple[str, ...] = ()

    @property
    def full_title(self) -> str:
        """Group and title on one line."""
        title = self.title.replace("\n", " ")
        return f"{self.group}: {title}" if self.group else title


@final
@dataclass(frozen=True)
class Table:
    """A table; `name` is the stem of its files.

    The first `num_baselines` rows are separated from the others by a line. `configurations` has one line per method:
    the hyperparameters behind its numbers. `protocol` has the lines that a report prints once, and a table that stands
    alone below its notes: what the networks were trained on, and how.
    """

    name: str
    title: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[TableCell, ...], ...]
    notes: tuple[str, ...] = ()
    configurations: tuple[str, ...] = ()
    num_baselines: int = 0
    protocol: tuple[str, ...] = ()

    @cached_property
    def footnotes(self) -> dict[str, str]:
        """The mark of each footnote by its text: "a", "b", ..., in the order in which a reader meets them."""
        noted: list[TableCell | Column] = [*self.columns, *(cell for row in self.rows for cell in row)]
        texts = dict.fromkeys(text for one in noted for text in one.footnotes)
        return {text: _mark(number) for number, text in enumerate(texts)}

    def marks(self, noted: "TableCell | Column") -> str:
        """Return the marks of a cell or a column, such as "a,b"."""
        return ",".join(sorted((self.footnotes[text] for text in noted.footnotes), key=lambda mark: (len(mark), mark)))

    def row_notes(self, row: Sequence[TableCell]) -> tuple[str, ...]:
        """Return the texts of all footnotes that a row and the columns have, for formats without marks."""
        noted: list[TableCell | Column] = [*row, *self.columns]
        return tuple(dict.fromkeys(text for one in noted for text in one.footnotes))

    @property
    def key_columns(self) -> tuple[int, ...]:
        """The positions of the columns that name a row; every block of a table that is split repeats them."""
        return tuple(n for n, one in enumerate(self.columns) if n == 0 or one.is_key or one.hides_repeats)
