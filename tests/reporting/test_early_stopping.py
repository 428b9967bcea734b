"""The note about early stopping."""

from dataclasses import replace

import pytest

from kdbench.reporting import build_tables
from kdbench.reporting.early_stopping import early_stopping_note
from kdbench.reporting.matrix_results import MatrixResults
from kdbench.reporting.rows import make_rows


def _note(builder, *names):
    results = MatrixResults(builder.index, builder.frame, "last")
    return early_stopping_note(results, [row for row in make_rows(results) if not names or row.name in names])


@pytest.fixture
def stopping(builder):
    """A row without early stopping, and two with it, of which one trains longer on one seed."""
    (training,) = builder.trainings.values()
    builder.trainings["stops"] = replace(training, recipe={"early_stopping": {"patience": 3}, "monitor": "accuracy"})
    builder.add("a", [0.5, 0.5], epochs_run=30)
    builder.add("b", [0.5, 0.5], cell={"training": "stops"}, epochs_run=12)
    builder.add("c", [0.5, 0.5], cell={"training": "stops"}, epochs_run=9)
    builder.rows[-1]["epochs_run"] = 11
    return builder


def test_it_states_which_weights_are_shown_and_how_long_each_row_was_trained(stopping) -> None:
    note = (
        "Early stopping: whatever the selection, the weights of the epoch with the highest validation accuracy are "
        "shown. Epochs trained: b 12; c 9 to 11."
    )
    assert _note(stopping) == note
    assert note in build_tables(stopping.index, stopping.frame)[0].notes


def test_it_names_the_monitor_of_every_row(stopping) -> None:
    by_loss = {"early_stopping": {"patience": 3}, "monitor": "loss"}
    stopping.trainings["loss"] = replace(stopping.trainings["stops"], recipe=by_loss)
    stopping.add("d", [None, None], cell={"training": "loss"})
    assert _note(stopping, "d").endswith("the epoch with the lowest validation loss are shown.")
    assert "the highest validation accuracy or the lowest validation loss" in _note(stopping)


def test_there_is_none_if_no_shown_row_stops_early(stopping) -> None:
    assert _note(stopping, "a") == ""
