"""Everything that kdbench raises on purpose.

KdbenchError
├── MatrixError        a matrix that cannot be run as written: file, key, rule, value, remedy
├── DataError          a data set that is absent, incomplete or damaged
├── MethodError        a method that cannot be built from the roles and hyperparameters given
├── NetworkError       a network that cannot be built
├── ResultsError       a results folder that cannot be read or written
├── ReportError        a report that cannot be made from the results there are
└── TrainingError      a run that cannot go on (its cohort goes on without it)
    └── NotFiniteError a loss that became NaN or infinite
"""

import difflib
from collections.abc import Iterable


class KdbenchError(Exception):
    """Base of all errors meant for the user: its text is the whole message, without a traceback."""


class MatrixError(KdbenchError):
    """A matrix breaks a rule; nothing was trained."""


class DataError(KdbenchError):
    """A data set is absent, incomplete or damaged."""


class MethodError(KdbenchError):
    """A method cannot be built as asked."""


class NetworkError(KdbenchError):
    """A network cannot be built as asked."""


class ResultsError(KdbenchError):
    """A results folder cannot be read or written."""


class ReportError(KdbenchError):
    """There is nothing, or not enough, to report."""


class TrainingError(KdbenchError):
    """One run cannot go on; the others of its cohort are not touched."""


class NotFiniteError(TrainingError):
    """A loss became NaN or infinite."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """A remedy for a name that is not known: the nearest valid one, or the list of all.

    >>> nearest("vanila", ["vanilla", "scratch"])
    "did you mean 'vanilla'?"
    """
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{close[0]}'?"
    return f"valid: {', '.join(names)}" if names else "there is none"
