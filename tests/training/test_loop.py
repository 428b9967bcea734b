"""Members of a cohort train as if each were alone."""

import math
import weakref
from types import SimpleNamespace

import pytest
import torch

from kdbench.matrix.recipe import EarlyStopping
from kdbench.training import stopwatch
from kdbench.training.loop import CohortLoop
from kdbench.training.method import Batch
from kdbench.training.network import Frozen
from kdbench.training.precision import allow_tf32, is_tf32_allowed
from kdbench.training.stopwatch import Stopwatch

EPOCHS = 3
SCORES = {"val_accuracy": 0.5, "val_nll": 1.0}


def train(members, batches, teachers=(), evaluate=lambda member: SCORES, on_epoch_end=lambda epoch, active: None):
    cohort = CohortLoop(members, batches, teachers, evaluate, on_epoch_end)
    cohort.train(EPOCHS)
    return cohort


def weights(member):
    return [value for player in member.method.players().values() for value in player.state_dict().values()]


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(weights(first), weights(second), strict=True))


@pytest.fixture
def teacher(tiny):
    return Frozen(tiny(99))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_cohort_does_not_change_the_weights_of_a_member(member, batches, teacher, precision):
    """Each member draws its own dropout masks, so a shared random state would fail this test."""
    alone = {seed: member(str(seed), teacher, seed=seed, precision=precision) for seed in (1, 2, 3)}
    for run in alone.values():
        train([run], batches, [teacher])
    for seeds in ((1, 2, 3), (3, 1), (2, 3, 1)):
        together = {seed: member(str(seed), teacher, seed=seed, precision=precision) for seed in seeds}
        train(list(together.values()), batches, [teacher])
        assert all(same(run, alone[seed]) for seed, run in together.items()), seeds
    assert not same(alone[1], alone[2])


def test_dropout_changes_the_weights(member, batches, teacher):
    """Otherwise the test above could not fail."""
    first, second = member(teacher=teacher), member(teacher=teacher)
    second.method.student.drop.p = 0.0
    train([first], batches, [teacher])
    train([second], batches, [teacher])
    assert not same(first, second)


def test_every_member_trains_on_every_batch_in_order(member, batches):
    seen = {"a": [], "b": []}

    def append_to(name):
        return lambda batch, loss: (seen[name].append(batch.images), loss)[1]

    train([member(name, change_loss=append_to(name)) for name in seen], batches)
    expected = [batch.images for epoch in range(EPOCHS) for batch in batches.epoch(epoch, EPOCHS)]
    for name, images in seen.items():
        assert len(images) == len(expected) == 12, name
        assert all(torch.equal(a, b) for a, b in zip(images, expected, strict=True)), name


@pytest.mark.parametrize("failure", ["raises", "nan", "in evaluation"])
def test_a_failing_member_does_not_change_the_others(member, batches, teacher, failure):
    def fail(batch, loss):
        if failure == "raises" and batch.progress > 0.5:
            raise RuntimeError("broken")
        return loss * math.nan if failure == "nan" and batch.progress > 0.5 else loss

    def evaluate(run):
        if failure == "in evaluation" and run.name == "bad" and len(run.history) == 1:
            raise RuntimeError("broken")
        return SCORES

    alone, beside = member("good", teacher), member("good", teacher)
    bad = member("bad", teacher, change_loss=fail)
    train([alone], batches, [teacher])
    train([bad, beside], batches, [teacher], evaluate)
    assert same(alone, beside)
    assert len(beside.history) == EPOCHS
    assert beside.error is None
    assert {"raises": "broken", "nan": "epoch 2: loss.ce", "in evaluation": "broken"}[failure] in str(bad.error)
    assert bad.history[-1]["epoch"] == (2 if failure == "nan" else 1)


def test_training_ends_when_all_members_have_failed(member, batches):
    def raising(batch, loss):
        raise RuntimeError("broken")

    epochs = []
    train([member(change_loss=raising)], batches, on_epoch_end=lambda epoch, active: epochs.append(epoch))
    assert epochs == [0]


def test_a_member_that_stopped_early_trains_no_more(member, batches):
    stopping = member("stops", early_stopping=EarlyStopping(patience=1))
    going, epochs = member("goes"), []
    train([stopping, going], batches, on_epoch_end=lambda epoch, active: epochs.append([m.name for m in active]))
    assert epochs == [["stops", "goes"], ["stops", "goes"], ["goes"]]
    assert [len(stopping.history), len(going.history)] == [2, 3]
    assert len(stopping.method.modes) == 8


def test_a_member_that_was_dropped_trains_no_more_and_goes_on_in_another_loop(member, batches, teacher):
    alone, moved, other = member("alone", teacher), member("moved", teacher), member("other", teacher, seed=1)
    train([alone], batches, [teacher])
    epochs = []

    def drop(epoch, active):
        epochs.append([run.name for run in active])
        first.drop([moved])

    first = CohortLoop([moved, other], batches, [teacher], lambda run: SCORES, drop)
    first.train(EPOCHS)
    CohortLoop([moved], batches, [teacher], lambda run: SCORES, lambda epoch, active: None).train(EPOCHS, first=1)
    assert epochs == [["moved", "other"], ["other"], ["other"]]
    assert [len(run.history) for run in (moved, other)] == [EPOCHS, EPOCHS]
    assert same(moved, alone)


def test_a_teacher_is_called_only_while_a_member_reads_it(member, batches, teacher, monkeypatch):
    calls, forward = [], teacher.network.forward
    monkeypatch.setattr(teacher.network, "forward", lambda images: (calls.append(images), forward(images))[1])
    reading = member("reading", teacher)
    cohort = CohortLoop(
        [reading, member("other")], batches, [teacher], lambda run: SCORES, lambda epoch, active: cohort.drop([reading])
    )
    cohort.train(EPOCHS)
    assert len(calls) == 4


def test_the_own_seconds_of_a_member_are_those_of_its_steps_and_evaluations(member, batches, monkeypatch):
    """A clock advances by a second in each step of one member, and by 100 in each of its evaluations."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(stopwatch, "time", SimpleNamespace(perf_counter=lambda: clock.now))

    def advance(seconds):
        clock.now += seconds

    slow, fast = member("slow", change_loss=lambda batch, loss: (advance(1.0), loss)[1]), member("fast")
    cohort = train([slow, fast], batches, evaluate=lambda run: (advance(100.0 * (run is slow)), SCORES)[1])
    assert [cohort.own_seconds(run) for run in (slow, fast)] == [EPOCHS * 104.0, 0.0]


def test_members_return_to_training_mode_after_an_evaluation(member, batches):
    def evaluate(run):
        run.method.eval()
        return SCORES

    run = member()
    train([run], batches, evaluate=evaluate)
    assert run.method.modes == [True] * 12


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_shared_teacher_computes_each_batch_once_and_does_not_change(
    member, batches, teacher, monkeypatch, precision
):
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    calls, forward = [], teacher.network.forward
    monkeypatch.setattr(teacher.network, "forward", lambda images: (calls.append(images), forward(images))[1])
    members = [member(str(seed), teacher, seed=seed, precision=precision) for seed in (1, 2, 3)]
    cohort = train(members, batches, [teacher])
    assert len(calls) == 12
    assert all(run.error is None for run in members)
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    assert all(cohort.shared_seconds(run) > 0 for run in members)


def test_a_failing_teacher_fails_only_the_members_that_use_it(member, batches, teacher, monkeypatch):
    def failing(images):
        raise RuntimeError("invalid input")

    using, other, alone = member("uses", teacher), member("other"), member("other")
    monkeypatch.setattr(teacher.network, "forward", failing)
    train([using, other], batches, [teacher])
    train([alone], batches)
    assert str(using.error) == "invalid input"
    assert other.error is None
    assert same(other, alone)


def test_the_cache_of_a_members_own_frozen_network_is_cleared_for_each_batch(member, batch, monkeypatch):
    """Such as a snapshot's past, or an older generation of a born-again network."""
    run, calls = member(), []
    forward = run.method.teacher.network.forward
    monkeypatch.setattr(
        run.method.teacher.network, "forward", lambda images: (calls.append(images), forward(images))[1]
    )
    train([run], RepeatedBatch(batch))
    assert len(calls) == 4 * EPOCHS


@pytest.mark.parametrize("precision", ["tf32", "fp32", "bf16"])
def test_tf32_is_allowed_in_training_with_that_precision_and_never_in_scoring(member, batches, precision):
    training, scoring = [], []

    def change_loss(batch, loss):
        training.append(is_tf32_allowed())
        return loss

    def evaluate(run):
        scoring.append(is_tf32_allowed())
        return SCORES

    allow_tf32(False)
    train([member(change_loss=change_loss, precision=precision)], batches, evaluate=evaluate)
    assert (set(training), set(scoring)) == ({precision == "tf32"}, {False})
    assert not is_tf32_allowed()


class RepeatedBatch:
    """Four times the same tensors per epoch."""

    def __init__(self, batch):
        self.batch = batch

    def epoch(self, epoch, epochs):
        yield from [self.batch] * 4


def test_the_cache_of_a_teacher_is_cleared_for_each_batch(member, teacher, batch, monkeypatch):
    calls, forward = [], teacher.network.forward
    monkeypatch.setattr(teacher.network, "forward", lambda images: (calls.append(images), forward(images))[1])
    train([member(teacher=teacher)], RepeatedBatch(batch), [teacher])
    assert len(calls) == 4 * EPOCHS


def test_a_teacher_is_not_called_for_batches_without_images(member, teacher, monkeypatch):
    class Empty:
        def epoch(self, epoch, epochs):
            images = torch.empty(0, 2, 3, 3)
            yield Batch(images, torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64), 0.0)

    calls, run = [], member(teacher=teacher)
    monkeypatch.setattr(teacher.network, "forward", lambda images: calls.append(images))
    monkeypatch.setattr(run.method, "steps", lambda batch: iter(()))
    train([run], Empty(), [teacher])
    assert calls == []
    assert run.error is None


class LogitsOnly:
    """A `TeacherForward` that puts only logits into the teacher's cache."""

    def __init__(self, teacher):
        self.teacher, self.calls = teacher, []

    def forward(self, images, epoch, position):
        self.calls.append((epoch, position))
        with torch.no_grad():
            self.teacher.cache_partial(images, self.teacher.network(images).logits)
        return Stopwatch(images.device)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_teacher_forward_replaces_the_call_of_the_teacher(member, batches, teacher, precision):
    plain, cached = member("a", teacher, precision=precision), member("b", teacher, precision=precision)
    train([plain], batches, [teacher])
    forward = LogitsOnly(teacher)
    forwards = {teacher: forward}
    CohortLoop([cached], batches, [teacher], lambda m: SCORES, lambda epoch, active: None, forwards).train(EPOCHS)
    assert forward.calls == [(epoch, position) for epoch in range(EPOCHS) for position in range(4)]
    assert same(plain, cached)


def test_if_a_teacher_forward_fails_the_teacher_is_called(member, batches, teacher):
    class Failing(LogitsOnly):
        def forward(self, images, epoch, position):
            raise OSError("disk error")

    plain, other = member("a", teacher), member("b", teacher)
    train([plain], batches, [teacher])
    forwards = {teacher: Failing(teacher)}
    CohortLoop([other], batches, [teacher], lambda m: SCORES, lambda epoch, active: None, forwards).train(EPOCHS)
    assert other.error is None
    assert same(plain, other)


def test_only_one_member_has_an_autograd_graph_at_a_time(member, batches, teacher):
    """The peak number of tensors that autograd saves is the same for one member and for three."""

    def peak_saved(seeds):
        alive, peak = weakref.WeakSet(), [0]

        def pack(tensor):
            saved = Saved(tensor.detach())  # with its graph it would keep itself alive
            alive.add(saved)
            peak[0] = max(peak[0], len(alive))
            return saved

        runs = [member(str(seed), teacher, seed=seed) for seed in seeds]
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved.tensor):
            train(runs, batches, [teacher])
        assert not any(parameter.grad is not None for run in runs for parameter in run.method.parameters())
        return peak[0]

    alone = peak_saved([1])
    assert alone > 5
    assert peak_saved([1, 2, 3]) == alone


class Saved:
    """A tensor saved by autograd."""

    def __init__(self, tensor):
        self.tensor = tensor
