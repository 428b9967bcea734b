"""Members side by side: each as if it were alone."""

import math
import weakref

import pytest
import torch

from kdbench.matrix.recipe import EarlyStopping
from kdbench.training.loop import CohortLoop
from kdbench.training.method import Batch
from kdbench.training.network import Frozen

EPOCHS = 3
SCORES = {"val_accuracy": 0.5, "val_nll": 1.0}


def train(members, drawn, frozen=(), score=lambda member: SCORES, report=lambda epoch, active: None):
    cohort = CohortLoop(members, drawn, frozen, score, report)
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
def test_the_cohort_does_not_change_a_members_weights(member, drawn, teacher, precision):
    """Each draws its own dropout, so a shared random stream would show."""
    alone = {seed: member(str(seed), teacher, seed=seed, precision=precision) for seed in (1, 2, 3)}
    for run in alone.values():
        train([run], drawn, [teacher])
    for seeds in ((1, 2, 3), (3, 1), (2, 3, 1)):
        together = {seed: member(str(seed), teacher, seed=seed, precision=precision) for seed in seeds}
        train(list(together.values()), drawn, [teacher])
        assert all(same(run, alone[seed]) for seed, run in together.items()), seeds
    assert not same(alone[1], alone[2])


def test_random_streams_of_members_matter(member, drawn, teacher):
    """The test above would be empty if dropout did nothing."""
    first, second = member(teacher=teacher), member(teacher=teacher)
    second.method.student.drop.p = 0.0
    train([first], drawn, [teacher])
    train([second], drawn, [teacher])
    assert not same(first, second)


def test_every_member_sees_every_batch_in_order(member, drawn):
    seen = {"a": [], "b": []}

    def noting(name):
        return lambda batch, loss: (seen[name].append(batch.images), loss)[1]

    train([member(name, spoil=noting(name)) for name in seen], drawn)
    expected = [batch.images for epoch in range(EPOCHS) for batch in drawn.epoch(epoch, EPOCHS)]
    for name, images in seen.items():
        assert len(images) == len(expected) == 12, name
        assert all(torch.equal(a, b) for a, b in zip(images, expected, strict=True)), name


@pytest.mark.parametrize("failure", ["raises", "nan", "in evaluation"])
def test_a_failing_member_leaves_the_others_as_they_are(member, drawn, teacher, failure):
    def spoil(batch, loss):
        if failure == "raises" and batch.progress > 0.5:
            raise RuntimeError("broken")
        return loss * math.nan if failure == "nan" and batch.progress > 0.5 else loss

    def score(run):
        if failure == "in evaluation" and run.name == "bad" and len(run.history) == 1:
            raise RuntimeError("broken")
        return SCORES

    alone, beside = member("good", teacher), member("good", teacher)
    bad = member("bad", teacher, spoil=spoil)
    train([alone], drawn, [teacher])
    train([bad, beside], drawn, [teacher], score)
    assert same(alone, beside)
    assert len(beside.history) == EPOCHS
    assert beside.error is None
    assert {"raises": "broken", "nan": "epoch 1: loss.ce", "in evaluation": "broken"}[failure] in str(bad.error)
    assert bad.history[-1]["epoch"] == (1 if failure == "nan" else 0)


def test_when_all_have_failed_the_rest_is_not_drawn(member, drawn):
    def raising(batch, loss):
        raise RuntimeError("broken")

    reported = []
    train([member(spoil=raising)], drawn, report=lambda epoch, active: reported.append(epoch))
    assert reported == [0]


def test_a_member_that_stopped_early_takes_no_more_batches(member, drawn):
    stopping = member("stops", early_stopping=EarlyStopping(patience=1))
    going, reported = member("goes"), []
    train([stopping, going], drawn, report=lambda epoch, active: reported.append([m.name for m in active]))
    assert reported == [["stops", "goes"], ["stops", "goes"], ["goes"]]
    assert [len(stopping.history), len(going.history)] == [2, 3]
    assert len(stopping.method.modes) == 8


def test_members_train_in_training_mode_although_they_are_evaluated(member, drawn):
    def score(run):
        run.method.eval()
        return SCORES

    run = member()
    train([run], drawn, score=score)
    assert run.method.modes == [True] * 12


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_shared_teacher_is_asked_once_a_batch_and_stays_as_it_is(member, drawn, teacher, monkeypatch, precision):
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    asked, forward = [], teacher.network.forward
    monkeypatch.setattr(teacher.network, "forward", lambda images: (asked.append(images), forward(images))[1])
    members = [member(str(seed), teacher, seed=seed, precision=precision) for seed in (1, 2, 3)]
    cohort = train(members, drawn, [teacher])
    assert len(asked) == 12
    assert all(run.error is None for run in members)
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    assert cohort.shared_seconds > 0


def test_a_broken_teacher_costs_only_those_that_ask_it(member, drawn, teacher, monkeypatch):
    def broken(images):
        raise RuntimeError("no such teacher")

    asking, other, alone = member("asks", teacher), member("other"), member("other")
    monkeypatch.setattr(teacher.network, "forward", broken)
    train([asking, other], drawn, [teacher])
    train([alone], drawn)
    assert str(asking.error) == "no such teacher"
    assert other.error is None
    assert same(other, alone)


def test_a_network_that_only_one_member_has_is_forgotten_too(member, drawn):
    """A snapshot's past, a born-again network's older generations."""
    kept = []

    def noting(batch, loss):
        kept.append(len(run.method.teacher._memory))
        return loss

    run = member(spoil=noting)
    train([run], drawn)
    assert kept == [0] * 12
    assert len(run.method.teacher._memory) == 0


def test_a_teacher_forgets_between_batches(member, teacher, batch, monkeypatch):
    """Even if the next batch is the very same tensor."""

    class Again:
        def epoch(self, epoch, epochs):
            yield from [batch] * 4

    asked, forward = [], teacher.network.forward
    monkeypatch.setattr(teacher.network, "forward", lambda images: (asked.append(images), forward(images))[1])
    train([member(teacher=teacher)], Again(), [teacher])
    assert len(asked) == 4 * EPOCHS


def test_batches_without_images_are_not_shown_to_the_teacher(member, teacher, monkeypatch):
    class Empty:
        def epoch(self, epoch, epochs):
            nothing = torch.empty(0, 2, 3, 3)
            yield Batch(nothing, torch.empty(0, dtype=torch.int64), torch.empty(0, dtype=torch.int64), 0.0)

    asked, run = [], member(teacher=teacher)
    monkeypatch.setattr(teacher.network, "forward", lambda images: asked.append(images))
    monkeypatch.setattr(run.method, "steps", lambda batch: iter(()))
    train([run], Empty(), [teacher])
    assert asked == []
    assert run.error is None


class Parrot:
    """Says the teacher's logits in its place, and notes when it is asked."""

    saved_seconds = 100.0

    def __init__(self, teacher):
        self.teacher, self.asked = teacher, []

    def ask(self, images, epoch, position):
        self.asked.append((epoch, position))
        with torch.no_grad():
            self.teacher.cache_partial(images, self.teacher.network(images).logits)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_teacher_is_asked_through_its_replay(member, drawn, teacher, precision):
    plain, repeated = member("a", teacher, precision=precision), member("b", teacher, precision=precision)
    train([plain], drawn, [teacher])
    parrot = Parrot(teacher)
    cohort = CohortLoop(
        [repeated], drawn, [teacher], lambda member: SCORES, lambda epoch, active: None, {teacher: parrot}
    )
    cohort.train(EPOCHS, first=0)
    assert parrot.asked == [(epoch, position) for epoch in range(EPOCHS) for position in range(4)]
    assert same(plain, repeated)
    assert 100 < cohort.shared_seconds < 110


def test_a_replay_that_fails_costs_nothing(member, drawn, teacher):
    class Mute(Parrot):
        def ask(self, images, epoch, position):
            raise OSError("no disk")

    plain, alone = member("a", teacher), member("b", teacher)
    train([plain], drawn, [teacher])
    CohortLoop([alone], drawn, [teacher], lambda m: SCORES, lambda epoch, active: None, {teacher: Mute(teacher)}).train(
        3
    )
    assert alone.error is None
    assert same(plain, alone)


def test_only_the_member_that_steps_has_a_graph(member, drawn, teacher):
    """What autograd saves, at its most: the same for one member and for three."""

    def most_saved(seeds):
        alive, most = weakref.WeakSet(), [0]

        def pack(tensor):
            saved = Saved(tensor.detach())  # with its graph it would hold itself
            alive.add(saved)
            most[0] = max(most[0], len(alive))
            return saved

        runs = [member(str(seed), teacher, seed=seed) for seed in seeds]
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda saved: saved.tensor):
            train(runs, drawn, [teacher])
        assert not any(parameter.grad is not None for run in runs for parameter in run.method.parameters())
        return most[0]

    alone = most_saved([1])
    assert alone > 5
    assert most_saved([1, 2, 3]) == alone


class Saved:
    """A tensor that autograd saves."""

    def __init__(self, tensor):
        self.tensor = tensor
