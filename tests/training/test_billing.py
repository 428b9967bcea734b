"""Each run of a cohort is billed for the outputs of frozen networks that it reads, as if it were alone."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch

from kdbench.training import optimizer, stopwatch
from kdbench.training.billing import Bills
from kdbench.training.loop import CohortLoop
from kdbench.training.network import Frozen
from kdbench.training.static_batches import GraphedTeacher, StaticBatches
from kdbench.training.stopwatch import Stopwatch

EPOCHS, BATCHES = 3, 12


@dataclass
class Clock:
    """A clock that stands still; frozen networks set it forward."""

    now: float = 0.0


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(stopwatch, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    return clock


@pytest.fixture
def frozen(clock, tiny, monkeypatch):
    """`frozen(seconds)`: a frozen network whose forward pass takes `seconds` on the clock."""

    def make(seconds):
        network = Frozen(tiny(99))
        forward = network.network.forward

        def timed(images):
            clock.now += seconds
            return forward(images)

        monkeypatch.setattr(network.network, "forward", timed)
        return network

    return make


@pytest.fixture
def reader(member):
    """`reader(name, teacher, read)`: a run whose cross-entropy calls `read(batch)`, and no teacher by itself."""

    def make(name, teacher, read=lambda batch: None, **more):
        run = member(name, teacher, change_loss=lambda batch, loss: (read(batch), loss)[1], **more)
        without_hint = run.method.steps

        def steps(batch):
            held, run.method.__dict__["teacher"] = run.method.teacher, lambda images: run.method.student(images)
            try:
                yield from without_hint(batch)
            finally:
                del run.method.__dict__["teacher"]
                assert run.method.teacher is held

        run.method.steps = steps
        return run

    return make


def train(members, batches, teachers=(), forwards=None, first=0, epochs=EPOCHS):
    cohort = CohortLoop(members, batches, teachers, lambda member: {}, lambda epoch, active: None, forwards)
    cohort.train(epochs, first)
    assert [run.error for run in members] == [None] * len(members)
    return cohort


def bills(cohort, *members):
    """Return the seconds of all that a member is billed: its own steps and shared work."""
    return [run.seconds + cohort.shared_seconds(run) for run in members]


def test_every_run_pays_in_full_for_a_teacher_that_it_reads(member, batches, frozen):
    teacher = frozen(10.0)
    alone, first, second = (member(name, teacher) for name in ("alone", "first", "second"))
    assert bills(train([alone], batches, [teacher]), alone) == [120.0]
    assert bills(train([first, second], batches, [teacher]), first, second) == [120.0, 120.0]


def test_a_run_that_has_a_teacher_but_never_reads_it_pays_nothing(member, reader, batches, frozen):
    teacher = frozen(10.0)
    reading, other = member("reads", teacher), reader("does not", teacher)
    assert bills(train([other, reading], batches, [teacher]), reading, other) == [120.0, 0.0]


def test_a_run_pays_for_the_batches_in_which_it_reads_only(reader, batches, frozen):
    teacher = frozen(10.0)
    late = reader("late", teacher, lambda batch: teacher(batch.images) if batch.progress >= 0.5 else None)
    always = reader("always", teacher, lambda batch: teacher(batch.images))
    assert bills(train([always, late], batches, [teacher]), always, late) == [120.0, 60.0]


def test_an_output_that_is_read_twice_is_paid_once(reader, batches, frozen):
    teacher = frozen(10.0)
    twice = reader("twice", teacher, lambda batch: (teacher(batch.images), teacher(batch.images)))
    assert bills(train([twice], batches, [teacher]), twice) == [120.0]


def test_each_teacher_is_paid_by_its_readers(reader, batches, frozen):
    """The roles `teachers.N`, which the loop does not call: the first reader computes for the others."""
    one, two = frozen(10.0), frozen(1.0)
    both = reader("both", one, lambda batch: (one(batch.images), two(batch.images)))
    second = reader("second", one, lambda batch: two(batch.images))
    for run in (both, second):
        run.method.other = two  # so that the loop clears its cache
    for members in ([both, second], [second, both]):
        cohort = train(members, batches, [one], epochs=EPOCHS)
        shared = {run.name: cohort.shared_seconds(run) for run in members}
        own = {run.name: run.seconds for run in members}
        assert {name: shared[name] + own[name] for name in shared} == {"both": 132.0, "second": 12.0}
        for run in members:
            run._watch.set(0.0)


def test_the_output_for_a_second_view_is_paid_by_all_its_readers(reader, batches, frozen):
    teacher, view = frozen(10.0), {}

    def read(batch):
        teacher(view.setdefault(batch.progress, batch.images + 1))

    first, second = reader("first", teacher, read), reader("second", teacher, read)
    assert bills(train([first, second], batches), first, second) == [120.0, 120.0]


def test_a_captured_run_pays_as_an_eager_one(member, batches, frozen, recorder, monkeypatch, clock):
    monkeypatch.setattr(optimizer, "GRAPH_DEVICES", {"cpu"})
    teacher, alone = frozen(10.0), frozen(0.0)
    captured = member("captured", teacher, recorder=recorder())
    eager = member("eager", teacher)
    other = member("other", alone, recorder=recorder())
    graphed = SlowReplays(GraphedTeacher(teacher, recorder()), clock)
    cohort = train([captured, eager, other], StaticBatches(batches), [teacher], {teacher: graphed})
    assert captured.is_captured
    assert other.is_captured
    assert bills(cohort, captured, eager, other) == [120.0, 120.0, 0.0]


class SlowReplays:
    """A `GraphedTeacher` whose replays, which call no Python, take 10 s on the clock."""

    def __init__(self, graphed, clock):
        self.graphed, self.clock = graphed, clock

    def forward(self, images, epoch, position):
        replay = self.graphed._replay
        if replay is not None:

            def timed():
                self.clock.now += 10.0
                replay()

            self.graphed._replay = timed
        cost = self.graphed.forward(images, epoch, position)
        if replay is not None:
            self.graphed._replay = replay
        return cost


class FromDisk:
    """A `TeacherForward` whose outputs took 25 s to compute, and take none to read."""

    def __init__(self, teacher):
        self.teacher = teacher

    def forward(self, images, epoch, position):
        cost = Stopwatch(images.device)
        cost.set(25.0)
        with torch.no_grad():
            self.teacher.cache_partial(images, self.teacher.network(images).logits)
        return cost


def test_an_output_from_disk_costs_what_it_took_to_compute(member, reader, batches, frozen):
    teacher = frozen(0.0)
    reading, other = member("reads", teacher), reader("does not", teacher)
    cohort = train([reading, other], batches, [teacher], {teacher: FromDisk(teacher)})
    assert bills(cohort, reading, other) == [25.0 * BATCHES, 0.0]


def test_drawing_a_batch_is_billed_to_every_run_in_full(member, clock, batches, frozen):
    class Slow:
        def epoch(self, epoch, epochs):
            for batch in batches.epoch(epoch, epochs):
                clock.now += 2.0
                yield batch

    first, second = member("first", frozen(0.0)), member("second", frozen(0.0))
    assert bills(train([first, second], Slow()), first, second) == [24.0, 24.0]


def test_a_run_that_stops_early_pays_until_then(member, batches, frozen):
    teacher = frozen(10.0)
    first, second = member("first", teacher), member("second", teacher)

    def stop(epoch, active):
        first.is_finished = True

    cohort = CohortLoop([first, second], batches, [teacher], lambda member: {}, stop)
    cohort.train(EPOCHS)
    assert bills(cohort, first, second) == [40.0, 120.0]


def test_reading_outside_a_step_is_not_billed(frozen):
    """Such as the evaluation of a deployed network with frozen parts."""
    network, account, images = frozen(10.0), Bills(), torch.randn(2, 2, 3, 3)
    network.bill_to(account)
    network(images)
    network(images)
    assert account.seconds("run") == 0.0
    with account.reading("run"):
        network(images)
    assert account.seconds("run") == 10.0
