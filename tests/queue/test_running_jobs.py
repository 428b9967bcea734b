"""The jobs that an executor runs: workers, deadlines and what is left."""

import pytest

from kdbench.queue.running_jobs import ENDING_SECONDS, START_SECONDS, RunningJobs
from kdbench.queue.workload import Limits


class FakeExecutor:
    def __init__(self):
        self.submitted, self.canceled = [], []

    def free_slots(self):
        return 3 - len(self.submitted)

    def slot_count(self):
        return 3

    def submit(self, job):
        self.submitted.append(job)

    def cancel(self, job):
        self.canceled.append(job)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def executor():
    return FakeExecutor()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def jobs(executor, clock):
    return RunningJobs(executor, Limits(time_limit=1.0, options={"compile": True}), clock)


def test_a_job_gets_the_lowest_free_worker(jobs, queued):
    first, second = jobs.train([queued("a")]), jobs.train([queued("b")])
    assert (first.worker, second.worker) == (1, 2)
    jobs.end(first.job.id)
    assert jobs.train([queued("c")]).worker == 1


def test_a_cohort_is_submitted_with_the_epochs_that_are_left(jobs, executor, queued):
    runs = [queued("a"), queued("b", epoch=2)]
    job = jobs.train(runs)
    assert job.epochs_left == {run.id: run.epochs_left for run in runs}
    assert executor.submitted == [job.job]
    assert (job.job.kind, job.job.options) == ("train", {"compile": True})
    assert job.job.id in jobs
    assert jobs.training == [job]


def test_a_timing_takes_no_options_and_trains_no_run(jobs, queued):
    job = jobs.submit([queued("a").spec], "time")
    assert job.job.options == {}
    assert jobs.training == []


def test_slots(jobs, queued):
    jobs.train([queued("a")])
    assert (jobs.slots.free, jobs.slots.total) == (2, 3)


def test_the_time_limit_counts_from_the_start_of_a_job_once_per_run(jobs, clock, executor, queued):
    job = jobs.train([queued("a"), queued("b")])
    clock.now = START_SECONDS
    jobs.cancel_late()
    jobs.start(job.job.id)
    clock.now += 120.0
    jobs.cancel_late()
    assert executor.canceled == []
    clock.now += 1.0
    jobs.cancel_late()
    jobs.cancel_late()
    assert executor.canceled == [job.job.id]
    assert jobs.describe_limit(job) == "exceeded run.time_limit (1 minutes x 2 runs): "


def test_a_worker_that_never_starts_its_job_is_canceled(jobs, clock, executor, queued):
    job = jobs.train([queued("a")])
    assert jobs.describe_limit(job) == ""
    clock.now = START_SECONDS + 1
    jobs.cancel_late()
    assert executor.canceled == [job.job.id]


def test_a_worker_is_about_to_be_free_once_its_last_run_has_ended(jobs, clock, queued):
    runs = [queued("a"), queued("b")]
    job = jobs.train(runs)
    jobs.remove(runs[0].id)
    assert not jobs.is_any_ending
    jobs.remove(runs[1].id)
    assert jobs.is_any_ending
    assert jobs.training == []
    clock.now += ENDING_SECONDS
    assert not jobs.is_any_ending
    clock.now -= 1.0
    assert jobs.is_any_ending
    jobs.end(job.job.id)
    assert not jobs.is_any_ending
