"""Which runs the free slots train, which runs are measured, and which runs a long job gives away."""

from dataclasses import replace

import pytest

from kdbench.events import EpochEnded
from kdbench.matrix import Part
from kdbench.queue.backlog import Backlog
from kdbench.queue.costs import CostModel, EpochWork
from kdbench.queue.dispatch import Dispatcher, Slots
from kdbench.queue.executors.base import Job
from kdbench.queue.queued_run import QueuedRun
from kdbench.queue.running_job import RunningJob


@pytest.fixture
def costs(store):
    return CostModel(store, "here")


@pytest.fixture
def dispatcher(store, costs):
    """`dispatcher(*runs)`: one for these runs."""

    def make(*runs, alone=()):
        backlog = Backlog(store)
        backlog.add(runs)
        for run in runs:
            costs.add(run.spec, run.work)
        return Dispatcher(backlog, costs, alone)

    return make


def running(runs, epochs_left, *, has_trained=True):
    job = Job(1, tuple(run.spec for run in runs))
    return RunningJob(job, 1, 0.0, None, dict.fromkeys(job.runs, epochs_left), has_trained=has_trained)


def heavy(run, seconds=10.0):
    """Return a run with epochs of about this many seconds."""
    return QueuedRun(run.spec, run.batches, EpochWork(own=3e10 * seconds, shared=3e9 * seconds, steps=100))


def names(cohorts):
    return [[run.spec.hyperparameters["name"] for run in cohort] for cohort in cohorts]


def test_runs_wait_for_what_they_need(queued, dispatcher):
    teacher = queued("t")
    student = queued("s", "b", teacher)
    assert names(dispatcher(teacher, student).next_cohorts((), Slots(2, 2), 0.0)) == [["t"]]


def test_a_run_without_a_teacher_joins_a_ready_group_with_its_batches(queued, dispatcher, store):
    teacher = queued("t", "other batches")
    store.write_result(teacher.id, {"status": "done", "row": {}})
    runs = [teacher, queued("scratch"), queued("s", teacher=teacher)]
    assert names(dispatcher(*runs).next_cohorts((), Slots(1, 1), 0.0)) == [["scratch", "s"]]


def test_a_run_that_must_train_alone_is_a_cohort(queued, dispatcher):
    runs = [queued(name) for name in "abc"]
    cohorts = dispatcher(*runs, alone={runs[1].id}).next_cohorts((), Slots(3, 3), 0.0)
    assert ["b"] in names(cohorts)


def test_expected_runs_are_not_dispatched(queued, dispatcher):
    a, later = queued("a"), queued("later")
    one = dispatcher(a)
    one.expect([QueuedRun(later.spec, later.batches, later.work, after=frozenset({a.id}))])
    assert names(one.next_cohorts((), Slots(4, 4), 0.0)) == [["a"]]


def test_an_idle_slot_takes_half_of_the_longest_job(queued, dispatcher):
    runs = [heavy(queued(name)) for name in "abcdef"]
    job = running(runs, epochs_left=50)
    (parts,) = dispatcher(*runs).choose_given_away([job], 1).values()
    assert sorted(map(len, parts)) == [3]


def test_several_idle_slots_share_a_job(queued, dispatcher):
    runs = [heavy(queued(name)) for name in "abcdef"]
    (parts,) = dispatcher(*runs).choose_given_away([running(runs, 50)], 2).values()
    assert [len(part) for part in parts] == [2, 2]


@pytest.mark.parametrize(
    ("epochs_left", "seconds", "has_trained"),
    [(1, 10.0, True), (20, 0.001, True), (50, 10.0, False)],
    ids=["the last epoch", "too short to pay", "no epoch has ended"],
)
def test_a_job_keeps_its_runs(queued, dispatcher, epochs_left, seconds, has_trained):
    runs = [heavy(queued(name), seconds) for name in "ab"]
    job = running(runs, epochs_left, has_trained=has_trained)
    assert dispatcher(*runs).choose_given_away([job], 1) == {}


def test_a_job_with_one_run_keeps_it(queued, dispatcher):
    run = heavy(queued("a"))
    assert dispatcher(run).choose_given_away([running([run], 50)], 1) == {}


def test_a_job_is_not_requested_twice_unless_the_request_came_too_late(queued, dispatcher):
    runs = [heavy(queued(name)) for name in "abcd"]
    one, job = dispatcher(*runs), running(runs, 50)
    job.request([["c", "d"]])
    assert one.choose_given_away([job], 2) == {}
    for epoch in (1, 2):
        event = EpochEnded(tuple(run.id for run in runs), epoch, 51, 0.0, None, 0.0)
        job.end_epoch(event, 10.0 * epoch)
    assert one.choose_given_away([job], 1) != {}


def test_long_runs_of_new_kinds_are_measured_once_each(queued, dispatcher, costs):
    teacher = heavy(queued("t"), 1000.0)
    students = [heavy(queued(name, "b", teacher), 1000.0) for name in "ab"]
    one = dispatcher(teacher, *students)
    measured = [run for part in one.worth_measuring(Slots(2, 2)) for run in part]
    assert len(measured) == 2  # the students differ in a hyperparameter alone
    assert teacher.id in measured


def test_one_run_of_each_network_is_measured_where_all_kinds_take_too_long(queued, dispatcher):
    run = queued("a")
    specs = [replace(run.spec, parts=(Part(f"method{number}"),)) for number in range(20)]
    runs = [heavy(QueuedRun(spec, "b"), 50.0 / run.epochs_left) for spec in specs]  # 1 % of all: about 10 s
    one = dispatcher(*runs)
    assert [len(part) for part in one.worth_measuring(Slots(1, 1))] == [1]
    assert one.worth_measuring(Slots(8, 8)) == []  # eight slots need an eighth of the time, but measure no faster


def test_short_runs_are_not_measured(queued, dispatcher):
    assert dispatcher(*(queued(name) for name in "ab")).worth_measuring(Slots(2, 2)) == []
