"""The scheduler with a fake executor: the jobs that it submits, and how it handles events."""

import signal
import time
from dataclasses import replace

import pytest
from timings import HERE, add_timing, make_timing

from kdbench.errors import KdbenchError, StorageError
from kdbench.events import (
    CohortStarted,
    EpochEnded,
    JobEnded,
    JobFailed,
    JobStarted,
    MeasurementStarted,
    RunDone,
    RunFailed,
    RunMeasured,
    RunsGivenAway,
    RunTakenElsewhere,
    TimingStarted,
    WarningIssued,
    WorkerDied,
)
from kdbench.queue.costs import CostModel, EpochWork
from kdbench.queue.scheduler import Scheduler
from kdbench.queue.signals import Interrupts
from kdbench.queue.workload import Limits, Workload
from kdbench.results import checkpoints
from kdbench.results.timings import read_timings

DONE = {"status": "done", "row": {}}
LIMITS = Limits()
HANG = "hang"
DEATH = "the worker died (signal 9)"


class FakeExecutor:
    """Runs jobs in this process: `train(store, job)` and `measure(store, job)` return events; None: the worker dies."""

    def __init__(self, store, train, measure, slots, is_ready=True):
        self.store, self.train, self.measure, self.slots, self.is_ready = store, train, measure, slots, is_ready
        self.jobs, self.canceled, self.kills, self.given = [], [], [], []
        self._events, self._busy = [], 0

    def environments(self):
        return [HERE]

    def slot_count(self):
        return self.slots

    def free_slots(self):
        return self.slots - self._busy

    def give_away(self, job, runs):
        self.given.append((job, set(runs)))

    def submit(self, job):
        assert self.free_slots() > 0
        self._busy += 1
        self.jobs.append(job)
        events = (self.train if job.kind == "train" else self.measure)(self.store, job)
        died = WorkerDied(job.id, job.runs, DEATH, self.is_ready)
        self._events += [died] if events is None else [*events, JobEnded(job.id)]

    def poll(self, timeout):
        events, self._events = self._events, []
        if HANG in events:
            self._events, events = events[-2:], events[:-2]
            time.sleep(0.01)
        self._busy -= sum(isinstance(event, JobEnded | WorkerDied) for event in events)
        return events

    def cancel(self, job):
        self.canceled.append(job)
        (job,) = (known for known in self.jobs if known.id == job)
        self._events = [WorkerDied(job.id, job.runs, DEATH)]

    def close(self, kill=False):
        self.kills.append(kill)


def succeed(store, job):
    """Finish every run of a job."""
    for run in job.runs:
        store.write_result(run, {**DONE, "architecture": "mlp"})
    return [RunDone(run) for run in job.runs]


def measure_mlp(store, job):
    add_timing(store.timings, "mlp")
    return []


def workload(runs, store):
    return Workload(runs, CostModel(store, "here"))


def ignore(event):
    pass


@pytest.fixture
def schedule(store):
    """`schedule(runs, train, slots, measure)`: the emitted events, and the executor."""

    def run(runs, train=succeed, slots=1, measure=measure_mlp, limits=LIMITS, is_ready=True):
        events, executor = [], FakeExecutor(store, train, measure, slots, is_ready)
        try:
            Scheduler(workload(runs, store), store, executor, events.append, limits).run()
        finally:
            assert len(executor.kills) >= 1
        return events, executor

    return run


def cohorts(events):
    return [set(event.runs) for event in events if isinstance(event, CohortStarted)]


def ids(*runs):
    return {run.spec.id for run in runs}


def test_teachers_train_first(queued, schedule, store):
    teacher = queued("t")
    student = queued("s", teacher=teacher)
    events, executor = schedule([student, teacher])
    assert cohorts(events) == [ids(teacher), ids(student)]
    assert {store.state(run) for run in ids(teacher, student)} == {"done"}
    assert [job.kind for job in executor.jobs] == ["train", "train", "time"]


def test_each_free_slot_gets_a_cohort(queued, schedule):
    runs = [queued(name) for name in "abcd"]
    events, executor = schedule(runs, slots=2, limits=Limits(options={"checkpoint_minutes": 2.0, "compile": True}))
    assert cohorts(events) == [ids(*runs[::2]), ids(*runs[1::2])]
    assert [job.specs for job in executor.jobs[:2]] == [tuple(r.spec for r in part) for part in (runs[::2], runs[1::2])]
    assert executor.jobs[0].options == {"checkpoint_minutes": 2.0, "compile": True}


def test_the_executor_is_closed_without_a_kill(queued, schedule):
    _, executor = schedule([queued("a")])
    assert executor.kills == [False]


def test_finished_runs_are_not_trained_again(queued, schedule, store):
    old, new = queued("old"), queued("new")
    store.write_result(old.spec.id, DONE)
    events, _ = schedule([old, new])
    assert cohorts(events) == [ids(new)]


def test_without_pending_runs_no_worker_starts(queued, schedule, store):
    done, failed = queued("a"), queued("b")
    store.write_result(done.spec.id, DONE)
    store.write_result(failed.spec.id, {"status": "failed", "error": "", "row": {}})
    events, executor = schedule([done, failed])
    assert (events, executor.jobs) == ([], [])


def test_students_of_a_failed_teacher_stay_pending(queued, schedule, store):
    teacher = queued("t")
    student = queued("s", teacher=teacher)

    def fail(store, job):
        for run in job.runs:
            store.write_result(run, {"status": "failed", "error": "NaN", "row": {}})
        return [RunFailed(run, "NaN") for run in job.runs]

    events, _ = schedule([teacher, student], fail)
    assert cohorts(events) == [ids(teacher)]
    assert store.state(student.spec.id) == "pending"


def test_a_death_costs_one_attempt(queued, schedule, store):
    run = queued("a")
    events, _ = schedule([run], lambda store, job: None if job.id == 1 else succeed(store, job))
    assert cohorts(events) == [ids(run), ids(run)]
    assert store.state(run.spec.id) == "done"


def test_a_run_fails_after_two_deaths(queued, schedule, store):
    deadly, other = queued("a"), queued("b", "other batches")

    def train(store, job):
        return None if deadly.spec.id in job.runs else succeed(store, job)

    events, _ = schedule([deadly, other], train)
    assert cohorts(events).count(ids(deadly)) == 2
    result = store.result(deadly.spec.id)
    assert (result["status"], result["error"]) == ("failed", DEATH)
    assert result["row"]["torch_version"]
    assert RunFailed(deadly.spec.id, DEATH) in events
    assert store.state(other.spec.id) == "done"


def test_a_run_that_another_process_has_taken_does_not_fail(queued, schedule, store):
    run = queued("a")
    locks, events = [], []

    def train(store, job):
        if job.id == 2:
            locks.append(store.claim(run.spec.id))

    def finish_elsewhere(event):
        events.append(event)
        if locks and isinstance(event, WorkerDied):
            store.write_result(run.spec.id, {**DONE, "row": {"host": "elsewhere"}})
            locks.pop().release()

    executor = FakeExecutor(store, train, measure_mlp, 1)
    Scheduler(workload([run], store), store, executor, finish_elsewhere, LIMITS).run()
    assert cohorts(events) == [ids(run), ids(run)]
    assert not any(isinstance(event, RunFailed) for event in events)
    assert store.result(run.spec.id)["row"] == {"host": "elsewhere"}


def test_the_runs_of_a_dead_cohort_are_retried_alone(queued, schedule, store):
    runs = [queued(name) for name in "abcd"]
    culprit = runs[2].spec.id
    events, _ = schedule(runs, lambda store, job: None if culprit in job.runs else succeed(store, job))
    assert cohorts(events) == [ids(*runs), *(ids(run) for run in runs)]
    assert {run.spec.id: store.state(run.spec.id) for run in runs} == {
        run.spec.id: "failed" if run.spec.id == culprit else "done" for run in runs
    }


def test_a_new_scheduler_counts_deaths_from_zero(queued, schedule, store):
    run = queued("a")
    jobs = []

    def train(store, job):
        jobs.append(job.id)
        if len(jobs) == 1:
            raise KeyboardInterrupt
        return None if len(jobs) == 2 else succeed(store, job)

    with pytest.raises(KeyboardInterrupt):
        schedule([run], train)
    schedule([run], train)
    assert store.state(run.spec.id) == "done"


def test_runs_that_a_dead_worker_had_finished_count_as_done(queued, schedule, store):
    first, second = queued("a"), queued("b")

    def train(store, job):
        if job.id > 1:
            return succeed(store, job)
        store.write_result(first.spec.id, DONE)
        return None

    events, _ = schedule([first, second], train)
    assert cohorts(events) == [ids(first, second), ids(second)]


def test_workers_that_cannot_start_are_an_error_and_no_run_fails(queued, schedule, store):
    runs = [queued(name) for name in "abc"]
    with pytest.raises(KdbenchError, match=r"^no worker can start: .*signal 9.*; fix this and rerun the command$"):
        schedule(runs, lambda store, job: None, is_ready=False)
    assert [store.state(run.spec.id) for run in runs] == ["pending"] * 3


def test_runs_with_different_next_epochs_are_in_different_cohorts(queued, schedule, store):
    runs = [queued(name) for name in "abc"]
    checkpoints.write(store.folder(runs[1].spec.id), 7, b"state", {})
    events, _ = schedule(runs)
    assert cohorts(events) == [ids(runs[0], runs[2]), ids(runs[1])]


def test_a_job_past_its_time_limit_is_canceled_and_costs_an_attempt(queued, schedule, store):
    runs = [queued("a"), queued("b")]

    def hang(store, job):
        return [JobStarted(job.id), HANG]

    events, executor = schedule(runs, hang, limits=Limits(time_limit=0.05 / 60))
    assert cohorts(events) == [ids(*runs), ids(runs[0]), ids(runs[1])]
    assert executor.canceled == [1, 2, 3]
    deaths = [event.reason for event in events if isinstance(event, WorkerDied)]
    assert deaths[0] == f"exceeded run.time_limit (0.000833333 minutes x 2 runs): {DEATH}"
    assert deaths[1] == f"exceeded run.time_limit (0.000833333 minutes): {DEATH}"
    assert store.result(runs[0].spec.id)["error"] == deaths[1]


def test_a_worker_has_more_time_to_start_its_job(queued, schedule, monkeypatch):
    monkeypatch.setattr("kdbench.queue.running_jobs.START_SECONDS", 0.2)
    start = time.monotonic()
    _, executor = schedule([queued("a")], lambda store, job: [HANG], limits=Limits(time_limit=0.01 / 60))
    assert executor.canceled == [1, 2]
    assert time.monotonic() - start > 2 * 0.2


def test_a_corrupted_teacher_is_trained_again(queued, schedule, store):
    teacher = queued("t")
    student = queued("s", teacher=teacher)
    store.write_result(teacher.spec.id, DONE)

    def train(store, job):
        if job.id > 1:
            return succeed(store, job)
        store.clear_result(teacher.spec.id)
        return [WarningIssued("its teacher's weights are corrupted", student.spec.id)]

    events, _ = schedule([teacher, student], train)
    assert cohorts(events) == [ids(student), ids(teacher), ids(student)]
    assert store.state(student.spec.id) == "done"


def test_a_run_that_its_worker_drops_uses_an_attempt(queued, schedule, store):
    run = queued("a")
    events, _ = schedule([run], lambda store, job: [])
    assert cohorts(events) == [ids(run)] * 2
    error = f"the worker dropped this run without an error; see `kdbench logs {run.spec.id}`"
    assert store.result(run.spec.id)["error"] == error


@pytest.mark.parametrize(("signals", "kills"), [(1, False), (2, True)])
def test_an_interrupt_stops_submitting_and_closes_the_executor(queued, store, signals, kills):
    runs = [queued("a", "x"), queued("b", "y")]

    def interrupt(store, job):
        for _ in range(signals):
            signal.raise_signal(signal.SIGINT)
        return succeed(store, job)

    executor = FakeExecutor(store, interrupt, measure_mlp, slots=1)
    with Interrupts() as interrupts, pytest.raises(KeyboardInterrupt):
        Scheduler(workload(runs, store), store, executor, ignore, interrupts=interrupts).run()
    assert [job.runs for job in executor.jobs] == [(runs[0].spec.id,)]
    assert executor.kills == [kills]


def test_a_second_interrupt_while_workers_exit_kills_them(queued, store):
    executor = FakeExecutor(store, succeed, measure_mlp, slots=1)
    kills = []

    def close(kill=False):
        kills.append(kill)
        if not kill:
            raise KeyboardInterrupt

    executor.close = close
    with pytest.raises(KeyboardInterrupt):
        Scheduler(workload([queued("a")], store), store, executor, ignore).run()
    assert kills == [False, True]


def test_a_run_that_another_process_finishes_is_not_trained(queued, schedule, store):
    theirs, ours = queued("theirs"), queued("ours")
    lock = store.claim(theirs.spec.id)

    def finish_elsewhere(store, job):
        store.write_result(ours.spec.id, DONE)
        events = [RunTakenElsewhere(theirs.spec.id), RunDone(ours.spec.id)]
        store.write_result(theirs.spec.id, {**DONE, "row": {"host": "elsewhere"}})
        lock.release()
        return events

    events, _ = schedule([theirs, ours], finish_elsewhere)
    assert cohorts(events) == [ids(theirs, ours)]
    assert store.result(theirs.spec.id)["row"] == {"host": "elsewhere"}


def test_a_run_that_another_process_left_unfinished_is_trained(queued, schedule, store):
    run = queued("a")
    lock = store.claim(run.spec.id)

    def train(store, job):
        if not lock.is_locked:
            return succeed(store, job)
        lock.release()
        return [RunTakenElsewhere(run.spec.id)]

    events, _ = schedule([run], train)
    assert cohorts(events) == [ids(run), ids(run)]
    assert store.state(run.spec.id) == "done"


def test_a_failed_job_stops_the_scheduler(queued, schedule):
    with pytest.raises(KdbenchError, match=r"^the disk is full$"):
        schedule([queued("a")], lambda store, job: [JobFailed("the disk is full")])


def test_epoch_times_that_cannot_be_saved_are_a_warning(queued, schedule, store, monkeypatch):
    def full(model):
        raise StorageError("epoch_times.json: cannot be written")

    monkeypatch.setattr(CostModel, "save", full)
    run = queued("a")
    events, _ = schedule([run])
    assert store.state(run.spec.id) == "done"
    assert WarningIssued("the epoch times are not saved: epoch_times.json: cannot be written") in events
    with pytest.raises(KdbenchError, match=r"^the disk is full$"):
        schedule([queued("b")], lambda store, job: [JobFailed("the disk is full")])


def test_each_architecture_is_timed_once_when_nothing_else_runs(queued, schedule):
    runs = [queued(name) for name in "abc"]
    events, executor = schedule(runs, slots=2)
    assert [job.runs for job in executor.jobs if job.kind == "time"] == [(runs[0].spec.id,)]
    last_done = max(index for index, event in enumerate(events) if isinstance(event, RunDone))
    assert [type(event) for event in events].index(TimingStarted) > last_done


def test_a_timed_architecture_is_not_timed_again(queued, schedule, store):
    run = queued("a")
    store.write_result(run.spec.id, {**DONE, "architecture": "mlp"})
    add_timing(store.timings, "mlp")
    assert schedule([run])[0] == []


@pytest.mark.parametrize(
    "change",
    [{"processor": "another"}, {"device": "NVIDIA H200"}, {"torch_version": "2.7.1"}, {"threads": 2}],
    ids=lambda change: next(iter(change)),
)
def test_an_architecture_that_was_timed_elsewhere_is_timed_here_too(queued, schedule, store, change):
    run, elsewhere = queued("a"), replace(HERE, **change)
    store.write_result(run.spec.id, {**DONE, "architecture": "mlp"})
    add_timing(store.timings, "mlp", elsewhere)
    _, executor = schedule([run])
    assert [job.kind for job in executor.jobs] == ["time"]
    assert {timing.environment for timing in read_timings(store.timings)} == {HERE, elsewhere}


def test_where_jobs_run_on_unknown_machines_the_version_of_torch_decides(queued, schedule, store, monkeypatch):
    monkeypatch.setattr(FakeExecutor, "environments", lambda self: [])
    run = queued("a")
    store.write_result(run.spec.id, {**DONE, "architecture": "mlp"})
    add_timing(store.timings, "mlp", replace(HERE, torch_version="2.7.1"))
    assert len(schedule([run])[1].jobs) == 1
    (store.timings / f"{make_timing('mlp').key}.json").unlink()
    add_timing(store.timings, "mlp", replace(HERE, processor="another"))
    assert schedule([run])[1].jobs == []


def test_timing_is_retried_after_a_death(queued, schedule, store):
    deaths = []

    def measure(store, job):
        deaths.append(job.id)
        return None if len(deaths) == 1 else measure_mlp(store, job)

    schedule([queued("a")], measure=measure)
    assert len(deaths) == 2
    assert [timing.architecture for timing in read_timings(store.timings)] == ["mlp"]


def test_two_deaths_while_timing_are_an_error(queued, schedule):
    with pytest.raises(KdbenchError, match=r"^the worker that times mlp_8 died 2 times; rerun the command$"):
        schedule([queued("a")], measure=lambda store, job: None)


class StepwiseExecutor(FakeExecutor):
    """Returns the events of `script`, one list per poll; the jobs do nothing by themselves."""

    def __init__(self, store, slots, script):
        super().__init__(store, None, None, slots)
        self.script = script(self)

    def environments(self):
        return []

    def submit(self, job):
        self._busy += 1
        self.jobs.append(job)

    def poll(self, timeout):
        events = next(self.script)
        self._busy -= sum(isinstance(event, JobEnded | WorkerDied) for event in events)
        return events


@pytest.fixture
def step_through(store, monkeypatch):
    """`step_through(runs, script, slots)`: the events and the executor; nothing is measured."""
    monkeypatch.setattr("kdbench.queue.dispatch.MEASURED_SHARE", 0.0)

    def run(runs, script, slots=2):
        events, executor = [], StepwiseExecutor(store, slots, script)
        Scheduler(workload(runs, store), store, executor, events.append, LIMITS).run()
        return events, executor

    return run


def finish(store, runs):
    for run in runs:
        store.write_result(run, DONE)
    return [RunDone(run) for run in runs]


def epoch(job, number, seconds=100.0):
    own = tuple(seconds for _ in job.runs)
    return EpochEnded(job.runs, number, 100, 0.0, None, 0.0, seconds * (len(job.runs) + 1), own)


def test_nothing_starts_while_a_worker_is_about_to_be_free(queued, step_through, store):
    teacher = queued("t", "teacher's")
    students = [queued(str(number), "b", teacher) for number in range(9)]

    def script(executor):
        (first,) = executor.jobs
        yield [JobStarted(first.id), *finish(store, first.runs)]
        assert len(executor.jobs) == 1
        yield []
        assert len(executor.jobs) == 1
        yield [JobEnded(first.id)]
        assert sorted(len(job.specs) for job in executor.jobs[1:]) == [4, 5]
        for job in executor.jobs[1:]:
            yield [*finish(store, job.runs), JobEnded(job.id)]

    step_through([teacher, *students], script)
    assert {store.state(run.spec.id) for run in students} == {"done"}


def test_a_worker_that_does_not_end_its_job_delays_the_others_for_seconds_only(
    queued, step_through, store, monkeypatch
):
    monkeypatch.setattr("kdbench.queue.running_jobs.ENDING_SECONDS", 0.0)
    teacher = queued("t", "teacher's")
    student = queued("s", "b", teacher)

    def script(executor):
        (first,) = executor.jobs
        yield [JobStarted(first.id), *finish(store, first.runs)]
        assert len(executor.jobs) == 2
        yield [*finish(store, executor.jobs[1].runs), JobEnded(2), JobEnded(first.id)]

    step_through([teacher, student], script)


def test_an_idle_slot_gets_half_of_a_long_job_at_its_epoch(queued, step_through, store):
    runs = [queued(name) for name in "abcd"]

    def script(executor):
        (first,) = executor.jobs
        executor.slots = 2
        yield [JobStarted(first.id), epoch(first, 1)]
        ((job, given),) = executor.given
        assert (job, len(given)) == (first.id, 2)
        yield [epoch(first, 2)]
        assert len(executor.given) == 1
        for run in given:
            checkpoints.write(store.folder(run), 3, b"state", {})
        yield [epoch(first, 3), RunsGivenAway(first.id, tuple(given), 3)]
        second = executor.jobs[1]
        assert set(second.runs) == given
        for job in (first, second):
            kept = [run for run in job.runs if job is second or run not in given]
            yield [*finish(store, kept), JobEnded(job.id)]

    _, executor = step_through(runs, script, slots=1)
    assert len(executor.jobs) == 2


def test_a_death_after_runs_were_given_away_costs_them_no_attempt(queued, step_through, store):
    runs = [queued(name) for name in "ab"]
    given, kept = (run.spec.id for run in runs)

    def script(executor):
        (first,) = executor.jobs
        yield [JobStarted(first.id), RunsGivenAway(first.id, (given,), 1), WorkerDied(first.id, (kept,), DEATH)]
        for _ in runs:  # a job for each, one after the other
            job = executor.jobs[-1]
            ended = [*finish(store, [given]), JobEnded(job.id)] if given in job.runs else [died(job)]
            yield ended

    def died(job):
        return WorkerDied(job.id, job.runs, DEATH)

    step_through(runs, script, slots=1)
    assert [store.state(run) for run in (given, kept)] == ["done", "failed"]


def test_runs_that_others_add_are_trained(queued, store):
    first, second, stand_in = queued("a"), queued("b"), queued("c")

    class Added:
        added = False

        def finish(self, run):
            runs, self.added = ([] if self.added else [second]), True
            return runs

        def expected(self):
            return [] if self.added else [replace(stand_in, after=frozenset({first.id}))]

    executor = FakeExecutor(store, succeed, measure_mlp, 2)
    work = Workload([first], CostModel(store, "here"), Added())
    Scheduler(work, store, executor, ignore, LIMITS).run()
    assert [job.runs for job in executor.jobs if job.kind == "train"] == [(first.id,), (second.id,)]
    assert store.state(stand_in.id) == "pending"


def test_long_trainings_begin_with_measurements(queued, store):
    runs = [replace(queued(name), work=EpochWork(own=1e15, steps=1000)) for name in "ab"]

    def train(store, job):
        if job.kind == "train":
            return succeed(store, job)
        return [JobStarted(job.id), *(RunMeasured(run, 0.5, 0.1, 2.0) for run in job.runs)]

    executor = FakeExecutor(store, train, measure_mlp, 2)
    executor.measure = lambda store, job: measure_mlp(store, job) if job.kind == "time" else train(store, job)
    events, costs = [], CostModel(store, "here")
    Scheduler(Workload(runs, costs), store, executor, events.append, LIMITS).run()
    assert [job.kind for job in executor.jobs[:2]] == ["measure", "train"]
    assert isinstance(events[0], MeasurementStarted)
    assert (costs.cost(runs[1].id).own, costs.cost(runs[1].id).shared) == (502.0, 100.0)
