"""What a matrix can be asked for."""

import pytest

from kdbench.errors import ReportError
from kdbench.reporting.selection import check, criterion


def test_every_selection_of_a_matrix_that_has_it_all(world) -> None:
    world.track_test = True
    for selection in ("last", "best_validation", "best_test"):
        check(world.index, selection)
    columns = [criterion(world.index, selection) for selection in ("last", "best_validation", "best_test")]
    assert columns == ["val_accuracy", "val_accuracy_best", "test_accuracy_best_test"]


def test_without_validation_nothing_is_chosen(world) -> None:
    world.validation = 0.0
    assert criterion(world.index, "last") is None
    with pytest.raises(ReportError, match="needs validation images, and matrix 'thesis' has validation = 0"):
        check(world.index, "best_validation")


def test_best_test_needs_test_metrics_of_every_epoch(world) -> None:
    with pytest.raises(ReportError, match=r"track_test = false; use selection 'last'"):
        check(world.index, "best_test")


def test_an_unknown_selection_is_refused_with_the_nearest(world) -> None:
    with pytest.raises(ReportError, match="got 'best_tests'; did you mean 'best_test'"):
        check(world.index, "best_tests")
