"""All exceptions that kdbench raises for its users, and the texts that they share.

KdbenchError
├── MatrixError          a matrix has an error: file, key, rule, value, what to do
├── DataError            a data set is missing, incomplete or corrupted
├── MethodError          a method cannot be built from these roles and hyperparameters
├── NetworkError         a network cannot be built
├── ResultsError         a results folder has an error, such as a corrupted file
│   └── CorruptedError   the files of a finished run are corrupted; it is trained again
├── StorageError         a file cannot be read or written; no run is responsible
├── ReportError          a report cannot be made from these results
└── TrainingError        a run cannot continue; the other runs of its cohort can
    └── NotFiniteError   a loss is NaN or infinite
"""

import difflib
from collections.abc import Iterable, Iterator

NOT_FINITE = "NaN or infinite"


class KdbenchError(Exception):
    """Base class; the command line prints its text without a traceback."""


class MatrixError(KdbenchError):
    """A matrix has an error; nothing was trained. Its text is always one printable line."""

    def __init__(self, text: str) -> None:
        super().__init__(printable(text))


class DataError(KdbenchError):
    """A data set is missing, incomplete or corrupted."""


class MethodError(KdbenchError):
    """A method cannot be built from these roles and hyperparameters."""


class NetworkError(KdbenchError):
    """A network cannot be built."""


class ResultsError(KdbenchError):
    """A results folder has an error, such as a corrupted file."""


class CorruptedError(ResultsError):
    """The files of a finished run are corrupted; it is trained again, then the runs that need it."""


class StorageError(KdbenchError):
    """A file cannot be read or written, for a reason that is no run's: no space, a limit, or an I/O error."""


class ReportError(KdbenchError):
    """A report cannot be made from these results."""


class TrainingError(KdbenchError):
    """A run cannot continue; the other runs of its cohort can."""


class NotFiniteError(TrainingError):
    """A loss is NaN or infinite. Its text contains `NOT_FINITE`, by which reports recognize a diverged run."""


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and its chain of causes."""
    seen = list[BaseException]()
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        error = error.__cause__ or error.__context__


def printable(text: str, longest: int = 800) -> str:
    r"""Return text as one line, control characters as their codes, the middle of a long text left out.

    >>> printable("a\x1b[31m\nb")
    'a\\x1b[31m\\nb'
    """
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    if len(line) <= longest:
        return line
    half = (longest - 5) // 2
    return f"{line[:half]} ... {line[-half:]}"


def printable_lines(text: str) -> str:
    """Return text with each of its lines made printable."""
    return "\n".join(map(printable, text.splitlines()))


def encodable(text: str) -> str:
    """Return text with the bytes of a file name that are no UTF-8 as their codes."""
    return text.encode(errors="backslashreplace").decode()


def did_you_mean(name: str, valid: Iterable[str]) -> str:
    """Return a hint for an unknown name: the most similar valid name, or all of them.

    >>> did_you_mean("vanila", ["vanilla", "scratch"])
    "did you mean 'vanilla'?"
    """
    names = sorted(valid)
    similar = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if similar:
        return f"did you mean '{similar[0]}'?"
    return f"valid: {', '.join(names)}" if names else "valid: none"
