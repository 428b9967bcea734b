"""A job that a worker trains, and how far it is."""

import pytest

from kdbench.events import EpochEnded
from kdbench.queue.costs import CostModel
from kdbench.queue.executors.base import Job
from kdbench.queue.running_job import RunningJob


@pytest.fixture
def runs(queued):
    return [queued(name) for name in "abc"]


@pytest.fixture
def job(runs):
    job = Job(1, tuple(run.spec for run in runs))
    return RunningJob(job, 1, 100.0, None, dict.fromkeys(job.runs, 10))


@pytest.fixture
def costs(store, runs):
    model = CostModel(store, "here")
    for run in runs:
        model.add(run.spec, run.work)
    model.observe_start(4.0)
    return model


def end_epoch(job, epoch, now, runs):
    job.end_epoch(EpochEnded(tuple(runs), epoch, 10, 0.0, None, 0.0), now)


def test_it_counts_the_epochs_left(job, runs):
    end_epoch(job, 1, 110.0, [run.id for run in runs[:2]])
    assert job.epochs_left == {runs[0].id: 9, runs[1].id: 9, runs[2].id: 10}
    assert job.since == 110.0
    assert job.has_trained


def test_it_is_empty_once_its_last_run_has_ended(job, runs):
    for number, run in enumerate(runs):
        assert job.emptied is None
        job.remove(run.id, 200.0 + number)
    assert job.emptied == 202.0
    assert job.runs == []
    job.remove("another run", 300.0)
    assert job.emptied == 202.0


def test_a_request_holds_until_every_part_is_given_away(job, runs):
    first, second, third = (run.id for run in runs)
    assert job.request([[first], [second]]) == [first, second]
    assert job.parts_requested == 2
    job.remove(first, 110.0)
    assert job.parts_requested == 1
    job.remove(third, 111.0)
    assert job.parts_requested == 1
    job.remove(second, 112.0)
    assert job.parts_requested == 0


def test_a_request_that_came_too_late_is_dropped_one_epoch_later(job, runs):
    ids = [run.id for run in runs]
    job.request([ids[:1]])
    end_epoch(job, 1, 110.0, ids)
    assert job.parts_requested == 1
    end_epoch(job, 2, 120.0, ids)
    assert job.parts_requested == 0


def test_what_is_left_of_it(job, runs, costs):
    own = costs.cost(runs[0].id).own
    assert job.part(costs, 100.0).seconds == pytest.approx(4.0 + 30 * own)
    assert job.part(costs, 103.0).seconds == pytest.approx(1.0 + 30 * own)
    end_epoch(job, 1, 110.0, job.runs)
    part = job.part(costs, 110.0)
    assert part.seconds == pytest.approx(27 * own)
    assert part.epochs == 9
    assert part.runs == tuple(job.runs)
    assert job.part(costs, 1e9).seconds == 0.0
