"""Everything that kdbench raises on purpose.

KdbenchError
├── MatrixError        a matrix that cannot be run as written: file, key, rule, value, remedy
├── DataError          a data set that is absent, incomplete or corrupted
├── MethodError        a method that cannot be built from the roles and hyperparameters given
├── NetworkError       a network that cannot be built
├── ResultsError       a results folder that cannot be read or written
│   └── CorruptedError   a finished run that is not what it was any more, and is trained again
├── ReportError        a report that cannot be made from the results there are
└── TrainingError      a run that cannot go on (its cohort goes on without it)
    └── NotFiniteError a loss that became NaN or infinite
"""

import difflib
from collections.abc import Iterable


class KdbenchError(Exception):
    """Base of all errors meant for the user: its text is the whole message, without a traceback."""


class MatrixError(KdbenchError):
    """A matrix breaks a rule; nothing was trained. Its text is one printable line, whatever the matrix holds."""

    def __init__(self, text: str) -> None:
        super().__init__(printable(text))


class DataError(KdbenchError):
    """A data set is absent, incomplete or corrupted."""


class MethodError(KdbenchError):
    """A method cannot be built as asked."""


class NetworkError(KdbenchError):
    """A network cannot be built as asked."""


class ResultsError(KdbenchError):
    """A results folder cannot be read or written."""


class CorruptedError(ResultsError):
    """A finished run is not what it was any more; it is trained again, and what needs it waits."""


class ReportError(KdbenchError):
    """There is nothing, or not enough, to report."""


class TrainingError(KdbenchError):
    """One run cannot go on; the others of its cohort are not touched."""


class NotFiniteError(TrainingError):
    """A loss became NaN or infinite."""


def printable(text: str, longest: int = 800) -> str:
    r"""One line: what a terminal would obey is shown by its code, and the middle of a long text is left out.

    >>> printable("a\x1b[31m\nb")
    'a\\x1b[31m\\nb'
    """
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    if len(shown) <= longest:
        return shown
    half = (longest - 5) // 2
    return f"{shown[:half]} ... {shown[-half:]}"


def printable_lines(text: str) -> str:
    """The same for a text of several lines, which stay so."""
    return "\n".join(map(printable, text.splitlines()))


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """A remedy for a name that is not known: the nearest valid one, or the list of all.

    >>> did_you_mean("vanila", ["vanilla", "scratch"])
    "did you mean 'vanilla'?"
    """
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{close[0]}'?"
    return f"valid: {', '.join(names)}" if names else "there is none"
