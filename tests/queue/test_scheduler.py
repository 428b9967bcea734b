"""The coordinator, with workers that only pretend: what is handed out, to whom, and what becomes of it."""

import os

import pytest

from kdbench.errors import KdbenchError
from kdbench.queue import scheduler
from kdbench.queue.devices import Slot
from kdbench.queue.scheduler import Scheduler

DONE = {"status": "done", "row": {}}


class Pretender:
    """A worker whose `behave(worker, specs)` gives the events to tell; None: it dies."""

    def __init__(self, slot, place, store, number):
        self.place, self.number, self.store = place, number, store
        self.runs, self.idle, self.closed = (), True, False
        self._told, self._dead, self._end = [], False, None
        reading, self._writing = os.pipe()
        self.output = os.fdopen(reading, "rb")

    def train(self, specs):
        self.idle, self.runs = False, tuple(spec.id for spec in specs)
        self._tell(self.behave(self, specs))

    def time(self, spec):
        self.idle = False
        self._tell(self.measure(self, spec))

    def _tell(self, events):
        self._dead = events is None
        self._told += [] if events is None else [*events, {"event": "idle"}]
        os.write(self._writing, b"!")

    def events(self):
        os.read(self.output.fileno(), 1)
        if self._dead:
            return None
        told, self._told = self._told, []
        self.idle, self.runs = True, ()
        return told

    def death(self):
        return "the worker died (signal 9)"

    def close(self):
        self.closed = True
        os.close(self._writing)
        self.output.close()


def finishing(worker, specs):
    """What a worker does if all goes well."""
    for spec in specs:
        worker.store.write_result(spec.id, {**DONE, "architecture": "mlp"})
    return [{"event": "done", "run": spec.id} for spec in specs]


def measuring(worker, spec):
    worker.store.write_timing("mlp", {"inference_ms": 1.0})
    return []


@pytest.fixture
def schedule(store, monkeypatch):
    """`schedule(items, behave, slots, measure)`: the events told, and the workers that were started."""

    def run(items, behave=finishing, slots=1, measure=measuring):
        started, told = [], []

        def start(*arguments):
            started.append(Pretender(*arguments))
            return started[-1]

        monkeypatch.setattr(Pretender, "behave", staticmethod(behave), raising=False)
        monkeypatch.setattr(Pretender, "measure", staticmethod(measure), raising=False)
        monkeypatch.setattr(scheduler, "Worker", start)
        try:
            Scheduler(items, store, [Slot("cpu", 1)] * slots, told.append).run()
        finally:
            assert all(worker.closed for worker in started)
        return told, started

    return run


def handed_out(told):
    return [set(event["runs"]) for event in told if event["event"] == "cohort"]


def ids(*items):
    return {item.spec.id for item in items}


def test_teachers_come_first(item, schedule, store):
    teacher = item("t")
    student = item("s", teacher=teacher)
    told, started = schedule([student, teacher])
    assert handed_out(told) == [ids(teacher), ids(student)]
    assert {store.state(run) for run in ids(teacher, student)} == {"done"}
    assert len(started) == 1


def test_a_cohort_goes_to_each_free_slot(item, schedule):
    items = [item(name) for name in "abcd"]
    told, started = schedule(items, slots=2)
    assert handed_out(told) == [ids(*items[:2]), ids(*items[2:])]
    assert [worker.place for worker in started] == [0, 1]


def test_no_more_workers_start_than_there_is_work(item, schedule):
    _, started = schedule([item("a")], slots=3)
    assert len(started) == 1


def test_what_is_finished_is_not_trained_again(item, schedule, store):
    old, new = item("old"), item("new")
    store.write_result(old.spec.id, DONE)
    told, _ = schedule([old, new])
    assert handed_out(told) == [ids(new)]


def test_nothing_to_do_starts_no_worker(item, schedule, store):
    done, failed = item("a"), item("b")
    store.write_result(done.spec.id, DONE)
    store.write_result(failed.spec.id, {"status": "failed", "error": "", "row": {}})
    assert schedule([done, failed]) == ([], [])


def test_students_of_a_failed_teacher_are_not_trained(item, schedule, store):
    teacher = item("t")
    student = item("s", teacher=teacher)

    def failing(worker, specs):
        for spec in specs:
            worker.store.write_result(spec.id, {"status": "failed", "error": "NaN", "row": {}})
        return [{"event": "failed", "run": spec.id, "error": "NaN"} for spec in specs]

    told, _ = schedule([teacher, student], failing)
    assert handed_out(told) == [ids(teacher)]
    assert store.state(student.spec.id) == "waiting"


def test_a_death_costs_one_attempt(item, schedule, store):
    run = item("a")
    told, started = schedule([run], lambda worker, specs: None if worker.number == 1 else finishing(worker, specs))
    assert handed_out(told) == [ids(run), ids(run)]
    assert [worker.place for worker in started] == [0, 0]
    assert store.state(run.spec.id) == "done"


def test_a_run_whose_worker_dies_twice_has_failed(item, schedule, store):
    deadly, other = item("a"), item("b", "other batches")

    def behave(worker, specs):
        return None if deadly.spec.id in {spec.id for spec in specs} else finishing(worker, specs)

    told, _ = schedule([deadly, other], behave)
    assert handed_out(told).count(ids(deadly)) == 2
    result = store.result(deadly.spec.id)
    assert (result["status"], result["error"]) == ("failed", "the worker died (signal 9)")
    assert result["row"]["torch_version"]
    assert {"event": "failed", "run": deadly.spec.id, "error": "the worker died (signal 9)"} in told
    assert store.state(other.spec.id) == "done"


def test_what_a_dead_worker_had_finished_counts(item, schedule, store):
    first, second = item("a"), item("b")

    def behave(worker, specs):
        if worker.number > 1:
            return finishing(worker, specs)
        store.write_result(first.spec.id, DONE)
        return None

    told, _ = schedule([first, second], behave)
    assert handed_out(told) == [ids(first, second), ids(second)]


def test_a_run_that_somebody_else_trains_is_waited_for(item, schedule, store):
    theirs, ours = item("theirs"), item("ours")
    lock = store.claim(theirs.spec.id)

    def behave(worker, specs):
        finishing(worker, [spec for spec in specs if spec.id == ours.spec.id])
        return [{"event": "taken", "run": theirs.spec.id}, {"event": "done", "run": ours.spec.id}]

    def finished_by_them(worker, specs):
        events = behave(worker, specs)
        store.write_result(theirs.spec.id, {**DONE, "row": {"host": "elsewhere"}})
        lock.release()
        return events

    told, _ = schedule([theirs, ours], finished_by_them)
    assert handed_out(told) == [ids(theirs, ours)]
    assert store.result(theirs.spec.id)["row"] == {"host": "elsewhere"}


def test_a_run_that_somebody_else_left_unfinished_is_taken_over(item, schedule, store):
    run = item("a")
    lock = store.claim(run.spec.id)

    def behave(worker, specs):
        if not lock.is_locked:
            return finishing(worker, specs)
        lock.release()
        return [{"event": "taken", "run": run.spec.id}]

    told, _ = schedule([run], behave)
    assert handed_out(told) == [ids(run), ids(run)]
    assert store.state(run.spec.id) == "done"


def test_an_error_that_is_nobodys_own_stops_everything(item, schedule):
    with pytest.raises(KdbenchError, match=r"^the disk is full$"):
        schedule([item("a")], lambda worker, specs: [{"event": "error", "error": "the disk is full"}])


def test_each_architecture_is_timed_once_at_the_end_by_one_worker(item, schedule):
    timed = []

    def measure(worker, spec):
        timed.append((worker.number, spec.id))
        return measuring(worker, spec)

    items = [item(name) for name in "abc"]
    told, started = schedule(items, slots=2, measure=measure)
    assert timed == [(1, items[0].spec.id)]
    assert started[1].closed
    assert [event["event"] for event in told].index("timing") > max(
        place for place, event in enumerate(told) if event["event"] == "done"
    )


def test_what_has_been_timed_is_not_timed_again(item, schedule, store):
    run = item("a")
    store.write_result(run.spec.id, {**DONE, "architecture": "mlp"})
    store.write_timing("mlp", {"inference_ms": 1.0})
    assert schedule([run]) == ([], [])


def test_a_death_while_timing_says_how_to_go_on(item, schedule):
    with pytest.raises(KdbenchError, match=r"^the worker that times inference died; run the same command again"):
        schedule([item("a")], measure=lambda worker, spec: None)
