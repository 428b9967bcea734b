"""Which epoch's weights a report shows, and by which score a configuration is chosen."""

from typing import Literal, get_args

from kdbench.errors import ReportError, did_you_mean
from kdbench.results.index import MatrixIndex

Selection = Literal["last", "best_validation", "best_test"]

SUFFIX: dict[Selection, str] = {"last": "", "best_validation": "_best", "best_test": "_best_test"}
WORDS: dict[Selection, str] = {
    "last": "last epoch",
    "best_validation": "best validation epoch",
    "best_test": "best test epoch, optimistic: the test set chose it",
}


def check(index: MatrixIndex, selection: Selection) -> None:
    """Refuse a selection that the matrix cannot serve.

    Raises:
        ReportError: an unknown selection, or one that needs a validation share or `track_test`.
    """
    known = get_args(Selection)
    if selection not in known:
        raise ReportError(
            f"selection must be one of {', '.join(known)}, got '{selection}'; {did_you_mean(selection, known)}"
        )
    if selection == "best_validation" and index.validation == 0:
        raise ReportError(
            f"selection 'best_validation' needs validation images, and matrix '{index.name}' has validation = 0; "
            "use selection 'last', or set protocol.validation and run again"
        )
    if selection == "best_test" and not index.track_test:
        raise ReportError(
            f"selection 'best_test' needs test metrics of every epoch, and matrix '{index.name}' has "
            "track_test = false; use selection 'last' or 'best_validation', or set protocol.track_test and run again"
        )


def criterion(index: MatrixIndex, selection: Selection) -> str | None:
    """The column whose mean over seeds chooses among configurations; None where nothing may choose.

    It is a test column for `best_test` only, which says in every caption that it is optimistic.
    """
    if selection == "best_test":
        return "test_accuracy_best_test"
    return f"val_accuracy{SUFFIX[selection]}" if index.validation > 0 else None
