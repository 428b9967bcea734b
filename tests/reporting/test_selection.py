"""Selections that a matrix supports."""

from dataclasses import replace

import pytest

from kdbench.errors import ReportError
from kdbench.reporting.selection import Selection, check_selection, choice_column


def test_a_matrix_with_validation_and_track_test_supports_all_selections(builder) -> None:
    builder.track_test = True
    for selection in ("last", "best_validation", "best_test"):
        check_selection(builder.index, selection)
    columns = [choice_column(builder.index, selection) for selection in ("last", "best_validation", "best_test")]
    assert columns == ["val_accuracy", "val_accuracy_best", "test_accuracy_best_test"]


def test_without_validation_nothing_is_chosen(builder) -> None:
    builder.validation = 0.0
    assert choice_column(builder.index, "last") is None
    with pytest.raises(ReportError, match=r"needs validation images, and matrix 'thesis' has protocol\.validation = 0"):
        check_selection(builder.index, "best_validation")


@pytest.mark.parametrize("selection", ["best_validation", "best_test"])
def test_a_refit_has_the_last_epoch_only(builder, selection: Selection) -> None:
    builder.track_test = True
    index = replace(builder.index, refit=True, search_seeds=(100,))
    check_selection(index, "last")
    with pytest.raises(ReportError, match=r"protocol\.refit = true, .*; use selection 'last', or set refit = false"):
        check_selection(index, selection)


def test_best_test_needs_test_metrics_of_every_epoch(builder) -> None:
    with pytest.raises(ReportError, match=r"track_test = false; use selection 'last'"):
        check_selection(builder.index, "best_test")


def test_an_unknown_selection_is_refused(builder) -> None:
    with pytest.raises(ReportError, match="unknown selection 'best_tests'; valid: last, best_validation, best_test"):
        check_selection(builder.index, "best_tests")
