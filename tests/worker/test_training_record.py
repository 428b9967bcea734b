"""The record of a run that trained in several cohorts."""

from kdbench.worker.training_record import TrainingRecord, highest


def test_a_record_adds_up_seconds_and_keeps_the_first_start_and_the_largest_cohort():
    first = TrainingRecord("2026-01-01", 10.0, 8, 300.0, ("after epoch 1: x",))
    second = TrainingRecord("2026-01-02", 5.0, 4, 500.0, ("after epoch 2: y",))
    assert first.followed_by(second) == TrainingRecord(
        "2026-01-01", 15.0, 8, 500.0, ("after epoch 1: x", "after epoch 2: y")
    )


def test_an_unknown_peak_is_below_every_known_one():
    assert (highest(None, 3.0), highest(3.0, 2.0), highest(None, None)) == (3.0, 3.0, None)
