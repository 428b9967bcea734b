"""The coordinator, with an executor that only pretends: what is handed out, and what becomes of it."""

import signal
import time

import pytest

from kdbench.errors import KdbenchError
from kdbench.events import (
    CohortStarted,
    JobEnded,
    JobFailed,
    JobStarted,
    RunDone,
    RunFailed,
    RunTakenElsewhere,
    TimingStarted,
    WarningIssued,
    WorkerDied,
)
from kdbench.queue.scheduler import Limits, Scheduler
from kdbench.queue.signals import Interrupts
from kdbench.results import checkpoints

DONE = {"status": "done", "row": {}}
LIMITS = Limits()
HANG = "hang"
DEATH = "the worker died (signal 9)"


class Pretender:
    """An executor of so many places; `behave(store, job)` gives the events of a job of training; None: it dies."""

    def __init__(self, store, behave, measure, places):
        self.store, self.behave, self.measure, self.places = store, behave, measure, places
        self.jobs, self.canceled, self.ends, self.ready = [], [], [], True
        self._told, self._busy = [], 0

    def capacity(self):
        return self.places - self._busy

    def submit(self, job):
        assert self.capacity() > 0
        self._busy += 1
        self.jobs.append(job)
        events = (self.behave if job.kind == "train" else self.measure)(self.store, job)
        died = WorkerDied(job.id, job.runs, DEATH, self.ready)
        self._told += [died] if events is None else [*events, JobEnded(job.id)]

    def poll(self, timeout):
        told, self._told = self._told, []
        if HANG in told:
            self._told, told = told[-2:], told[:-2]
            time.sleep(0.01)
        self._busy -= sum(isinstance(event, JobEnded | WorkerDied) for event in told)
        return told

    def cancel(self, job):
        self.canceled.append(job)
        (job,) = (known for known in self.jobs if known.id == job)
        self._told = [WorkerDied(job.id, job.runs, DEATH)]

    def close(self, now=False):
        self.ends.append(now)


def finishing(store, job):
    """What a worker does if all goes well."""
    for run in job.runs:
        store.write_result(run, {**DONE, "architecture": "mlp"})
    return [RunDone(run) for run in job.runs]


def measuring(store, job):
    store.write_timing("mlp", {"inference_ms": 1.0})
    return []


@pytest.fixture
def schedule(store):
    """`schedule(items, behave, places, measure)`: the events told, and the executor that was used."""

    def run(items, behave=finishing, places=1, measure=measuring, limits=LIMITS, ready=True):
        told, executor = [], Pretender(store, behave, measure, places)
        executor.ready = ready
        try:
            Scheduler(items, store, executor, told.append, limits).run()
        finally:
            assert len(executor.ends) >= 1
        return told, executor

    return run


def handed_out(told):
    return [set(event.runs) for event in told if isinstance(event, CohortStarted)]


def ids(*items):
    return {item.spec.id for item in items}


def test_teachers_come_first(item, schedule, store):
    teacher = item("t")
    student = item("s", teacher=teacher)
    told, executor = schedule([student, teacher])
    assert handed_out(told) == [ids(teacher), ids(student)]
    assert {store.state(run) for run in ids(teacher, student)} == {"done"}
    assert [job.kind for job in executor.jobs] == ["train", "train", "time"]


def test_a_cohort_goes_to_each_free_place(item, schedule):
    items = [item(name) for name in "abcd"]
    told, executor = schedule(items, places=2, limits=Limits(options={"checkpoint_minutes": 2.0, "compile": True}))
    assert handed_out(told) == [ids(*items[:2]), ids(*items[2:])]
    assert [job.specs for job in executor.jobs[:2]] == [tuple(i.spec for i in part) for part in (items[:2], items[2:])]
    assert executor.jobs[0].options == {"checkpoint_minutes": 2.0, "compile": True}


def test_all_workers_are_ended_in_order(item, schedule):
    _, executor = schedule([item("a")])
    assert executor.ends == [False]


def test_what_is_finished_is_not_trained_again(item, schedule, store):
    old, new = item("old"), item("new")
    store.write_result(old.spec.id, DONE)
    told, _ = schedule([old, new])
    assert handed_out(told) == [ids(new)]


def test_nothing_to_do_starts_no_worker(item, schedule, store):
    done, failed = item("a"), item("b")
    store.write_result(done.spec.id, DONE)
    store.write_result(failed.spec.id, {"status": "failed", "error": "", "row": {}})
    told, executor = schedule([done, failed])
    assert (told, executor.jobs) == ([], [])


def test_students_of_a_failed_teacher_are_not_trained(item, schedule, store):
    teacher = item("t")
    student = item("s", teacher=teacher)

    def failing(store, job):
        for run in job.runs:
            store.write_result(run, {"status": "failed", "error": "NaN", "row": {}})
        return [RunFailed(run, "NaN") for run in job.runs]

    told, _ = schedule([teacher, student], failing)
    assert handed_out(told) == [ids(teacher)]
    assert store.state(student.spec.id) == "pending"


def test_a_death_costs_one_attempt(item, schedule, store):
    run = item("a")
    told, _ = schedule([run], lambda store, job: None if job.id == 1 else finishing(store, job))
    assert handed_out(told) == [ids(run), ids(run)]
    assert store.state(run.spec.id) == "done"


def test_a_run_whose_worker_dies_twice_has_failed(item, schedule, store):
    deadly, other = item("a"), item("b", "other batches")

    def behave(store, job):
        return None if deadly.spec.id in job.runs else finishing(store, job)

    told, _ = schedule([deadly, other], behave)
    assert handed_out(told).count(ids(deadly)) == 2
    result = store.result(deadly.spec.id)
    assert (result["status"], result["error"]) == ("failed", "the worker died (signal 9)")
    assert result["row"]["torch_version"]
    assert RunFailed(deadly.spec.id, "the worker died (signal 9)") in told
    assert store.state(other.spec.id) == "done"


def test_a_run_that_somebody_else_has_taken_up_meanwhile_does_not_fail(item, schedule, store):
    run = item("a")
    locks = []

    def behave(store, job):
        if job.id == 2:
            locks.append(store.claim(run.spec.id))

    def finished_by_them(event):
        if locks and isinstance(event, WorkerDied):
            store.write_result(run.spec.id, {**DONE, "row": {"host": "elsewhere"}})
            locks.pop().release()

    executor = Pretender(store, behave, measuring, 1)
    told = []
    Scheduler([run], store, executor, lambda event: (told.append(event), finished_by_them(event)), LIMITS).run()
    assert handed_out(told) == [ids(run), ids(run)]
    assert not any(isinstance(event, RunFailed) for event in told)
    assert store.result(run.spec.id)["row"] == {"host": "elsewhere"}


def test_the_runs_of_a_cohort_that_died_train_alone_until_the_culprit_is_found(item, schedule, store):
    runs = [item(name) for name in "abcd"]
    culprit = runs[2].spec.id
    told, _ = schedule(runs, lambda store, job: None if culprit in job.runs else finishing(store, job))
    assert handed_out(told) == [ids(*runs), *(ids(run) for run in runs)]
    assert {run.spec.id: store.state(run.spec.id) for run in runs} == {
        run.spec.id: "failed" if run.spec.id == culprit else "done" for run in runs
    }


def test_a_new_queue_counts_deaths_anew(item, schedule, store):
    run = item("a")
    died = []

    def behave(store, job):
        died.append(job.id)
        if len(died) == 1:
            raise KeyboardInterrupt
        return None if len(died) == 2 else finishing(store, job)

    with pytest.raises(KeyboardInterrupt):
        schedule([run], behave)
    schedule([run], behave)
    assert store.state(run.spec.id) == "done"


def test_what_a_dead_worker_had_finished_counts(item, schedule, store):
    first, second = item("a"), item("b")

    def behave(store, job):
        if job.id > 1:
            return finishing(store, job)
        store.write_result(first.spec.id, DONE)
        return None

    told, _ = schedule([first, second], behave)
    assert handed_out(told) == [ids(first, second), ids(second)]


def test_workers_that_cannot_start_stop_everything_and_blame_no_run(item, schedule, store):
    runs = [item(name) for name in "abc"]

    with pytest.raises(KdbenchError, match=r"^no worker can start: .*signal 9.*; mend that and run the same command"):
        schedule(runs, lambda store, job: None, ready=False)
    assert [store.state(run.spec.id) for run in runs] == ["pending"] * 3


def test_runs_that_are_not_equally_far_are_not_one_cohort(item, schedule, store):
    runs = [item(name) for name in "abc"]
    checkpoints.write(store.folder(runs[1].spec.id), 7, b"state", {})
    told, _ = schedule(runs)
    assert handed_out(told) == [ids(runs[0], runs[2]), ids(runs[1])]


def test_a_job_that_takes_too_long_is_ended_and_costs_an_attempt(item, schedule, store):
    runs = [item("a"), item("b")]

    def behave(store, job):
        return [JobStarted(job.id), HANG]

    told, executor = schedule(runs, behave, limits=Limits(time_limit=0.05 / 60))
    assert handed_out(told) == [ids(*runs), ids(runs[0]), ids(runs[1])]
    assert executor.canceled == [1, 2, 3]
    deaths = [event.reason for event in told if isinstance(event, WorkerDied)]
    assert deaths[0] == "ended after run.time_limit (0.000833333 minutes x 2 runs): the worker died (signal 9)"
    assert deaths[1] == "ended after run.time_limit (0.000833333 minutes): the worker died (signal 9)"
    assert store.result(runs[0].spec.id)["error"] == deaths[1]


def test_until_its_job_has_begun_a_worker_may_take_longer(item, schedule, monkeypatch):
    monkeypatch.setattr("kdbench.queue.scheduler.START", 0.2)
    began = time.monotonic()
    _, executor = schedule([item("a")], lambda store, job: [HANG], limits=Limits(time_limit=0.01 / 60))
    assert executor.canceled == [1, 2]
    assert time.monotonic() - began > 2 * 0.2


def test_a_teacher_that_is_found_corrupted_is_trained_again(item, schedule, store):
    teacher = item("t")
    student = item("s", teacher=teacher)
    store.write_result(teacher.spec.id, DONE)

    def behave(store, job):
        if job.id > 1:
            return finishing(store, job)
        store.forget_result(teacher.spec.id)
        return [WarningIssued("its teacher's weights are corrupted", student.spec.id)]

    told, _ = schedule([teacher, student], behave)
    assert handed_out(told) == [ids(student), ids(teacher), ids(student)]
    assert store.state(student.spec.id) == "done"


def test_a_worker_that_tells_nothing_of_a_run_has_cost_it_an_attempt(item, schedule, store):
    run = item("a")
    told, _ = schedule([run], lambda store, job: [])
    assert handed_out(told) == [ids(run)] * 2
    assert store.result(run.spec.id)["error"] == "its worker gave it up without a word; see its log.txt"


@pytest.mark.parametrize(("signals", "at_once"), [(1, False), (2, True)])
def test_an_interrupt_hands_out_nothing_more_and_ends_the_workers(item, store, signals, at_once):
    runs = [item("a", "x"), item("b", "y")]

    def behave(store, job):
        for _ in range(signals):
            signal.raise_signal(signal.SIGINT)
        return finishing(store, job)

    executor = Pretender(store, behave, measuring, places=1)
    with Interrupts() as interrupts, pytest.raises(KeyboardInterrupt):
        Scheduler(runs, store, executor, lambda event: None, interrupts=interrupts).run()
    assert [job.runs for job in executor.jobs] == [(runs[0].spec.id,)]
    assert executor.ends == [at_once]


def test_a_second_interrupt_while_the_workers_leave_ends_them_at_once(item, store):
    executor = Pretender(store, finishing, measuring, places=1)
    ends = []

    def close(now=False):
        ends.append(now)
        if not now:
            raise KeyboardInterrupt

    executor.close = close
    with pytest.raises(KeyboardInterrupt):
        Scheduler([item("a")], store, executor, lambda event: None).run()
    assert ends == [False, True]


def test_a_run_that_somebody_else_trains_is_waited_for(item, schedule, store):
    theirs, ours = item("theirs"), item("ours")
    lock = store.claim(theirs.spec.id)

    def finished_by_them(store, job):
        store.write_result(ours.spec.id, DONE)
        events = [RunTakenElsewhere(theirs.spec.id), RunDone(ours.spec.id)]
        store.write_result(theirs.spec.id, {**DONE, "row": {"host": "elsewhere"}})
        lock.release()
        return events

    told, _ = schedule([theirs, ours], finished_by_them)
    assert handed_out(told) == [ids(theirs, ours)]
    assert store.result(theirs.spec.id)["row"] == {"host": "elsewhere"}


def test_a_run_that_somebody_else_left_unfinished_is_taken_over(item, schedule, store):
    run = item("a")
    lock = store.claim(run.spec.id)

    def behave(store, job):
        if not lock.is_locked:
            return finishing(store, job)
        lock.release()
        return [RunTakenElsewhere(run.spec.id)]

    told, _ = schedule([run], behave)
    assert handed_out(told) == [ids(run), ids(run)]
    assert store.state(run.spec.id) == "done"


def test_an_error_that_is_nobodys_own_stops_everything(item, schedule):
    with pytest.raises(KdbenchError, match=r"^the disk is full$"):
        schedule([item("a")], lambda store, job: [JobFailed("the disk is full")])


def test_each_architecture_is_timed_once_when_nothing_else_runs(item, schedule):
    items = [item(name) for name in "abc"]
    told, executor = schedule(items, places=2)
    assert [job.runs for job in executor.jobs if job.kind == "time"] == [(items[0].spec.id,)]
    assert [type(event) for event in told].index(TimingStarted) > max(
        place for place, event in enumerate(told) if isinstance(event, RunDone)
    )


def test_what_has_been_timed_is_not_timed_again(item, schedule, store):
    run = item("a")
    store.write_result(run.spec.id, {**DONE, "architecture": "mlp"})
    store.write_timing("mlp", {"inference_ms": 1.0})
    assert schedule([run])[0] == []


def test_timing_is_tried_again_after_a_death(item, schedule, store):
    deaths = []

    def measure(store, job):
        deaths.append(job.id)
        return None if len(deaths) == 1 else measuring(store, job)

    schedule([item("a")], measure=measure)
    assert len(deaths) == 2
    assert store.timing("mlp") == {"inference_ms": 1.0}


def test_a_second_death_while_timing_says_how_to_go_on(item, schedule):
    with pytest.raises(KdbenchError, match=r"^the worker that times inference died; run the same command again"):
        schedule([item("a")], measure=lambda store, job: None)
