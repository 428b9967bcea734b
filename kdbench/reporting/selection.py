"""The selection: which epoch's weights are scored, and which score chooses hyperparameters."""

from typing import Literal, get_args

from kdbench.errors import ReportError
from kdbench.results.columns import SEARCH_COLUMN
from kdbench.results.index import MatrixIndex

Selection = Literal["last", "best_validation", "best_test"]

SUFFIXES: dict[Selection, str] = {"last": "", "best_validation": "_best", "best_test": "_best_test"}
DESCRIPTIONS: dict[Selection, str] = {
    "last": "last epoch",
    "best_validation": "best validation epoch",
    "best_test": "best test epoch (optimistic: chosen on the test set)",
}


def check_selection(index: MatrixIndex, selection: Selection) -> None:
    """Check that a matrix supports a selection.

    Raises:
        ReportError: the selection is unknown, or the matrix lacks the validation images or test metrics it needs.
    """
    known = get_args(Selection)
    if selection not in known:
        raise ReportError(f"unknown selection '{selection}'; valid: {', '.join(known)}")
    if selection != "last" and index.refit:
        raise ReportError(
            f"selection '{selection}' chooses an epoch, and matrix '{index.name}' has protocol.refit = true, whose "
            "runs have no validation images; use selection 'last', or set refit = false and run the matrix again"
        )
    if selection == "best_validation" and index.validation == 0:
        raise ReportError(
            f"selection 'best_validation' needs validation images, and matrix '{index.name}' has "
            "protocol.validation = 0; use selection 'last', or set protocol.validation and run the matrix again"
        )
    if selection == "best_test" and not index.track_test:
        raise ReportError(
            f"selection 'best_test' needs test metrics of every epoch, and matrix '{index.name}' has "
            "protocol.track_test = false; use selection 'last' or 'best_validation', or set protocol.track_test = true "
            "and run the matrix again"
        )


def choice_column(index: MatrixIndex, selection: Selection) -> str | None:
    """Return the column whose mean over seeds chooses hyperparameters; None if validation is 0.

    It is a column of the test set only for `best_test` without search seeds, which every caption calls optimistic.
    """
    if index.search_seeds:
        return SEARCH_COLUMN
    if selection == "best_test":
        return "test_accuracy_best_test"
    return f"val_accuracy{SUFFIXES[selection]}" if index.validation > 0 else None
