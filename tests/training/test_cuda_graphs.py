"""Recorded steps: the same as others, apart from one another, and nobody's failure but their own."""

import gc
from contextlib import nullcontext

import pytest
import torch

from kdbench.matrix.recipe import Sgd
from kdbench.training import optimizer
from kdbench.training.cuda_graphs import WARM_UP, CudaGraphRecorder
from kdbench.training.cuda_graphs import recorder as recorder_for
from kdbench.training.loop import CohortLoop
from kdbench.training.network import Frozen
from kdbench.training.static_batches import GraphedTeacher, StaticBatches

EPOCHS = 3


@pytest.fixture(autouse=True)
def optimizers_that_can_be_recorded(monkeypatch):
    monkeypatch.setattr(optimizer, "RECORDING", {"cpu"})


@pytest.fixture
def train(drawn, recorder):
    """`train(members, teacher)`: together, on batches that are held, beside a recorded teacher."""

    def run(members, teacher, epochs=EPOCHS, first=0, report=lambda epoch, active: None):
        asked = {teacher: GraphedTeacher(teacher, recorder())}
        CohortLoop(members, StaticBatches(drawn), [teacher], lambda member: {}, report, asked).train(epochs, first)

    return run


@pytest.fixture
def teacher(tiny):
    return Frozen(tiny(99))


def same(first, second):
    return all(torch.equal(a, b) for a, b in zip(weights(first), weights(second), strict=True))


def weights(member):
    return [value for player in member.method.players().values() for value in player.state_dict().values()]


def losses(member):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in member.history]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_recorded_run_is_the_plain_one(train, member, teacher, recorder, precision):
    """With dropout, noise of its own, batch norm, two players and a rate that falls."""
    plain = member(teacher=teacher, precision=precision)
    recorded = member(teacher=teacher, precision=precision, recorder=recorder())
    train([plain], teacher)
    train([recorded], teacher)
    assert recorded.is_captured
    assert not plain.is_captured
    assert same(plain, recorded)
    assert losses(plain) == losses(recorded)


def test_recorded_beside_others_it_is_as_alone(train, member, teacher, recorder):
    alone = {seed: member(str(seed), teacher, seed=seed) for seed in (1, 2, 3)}
    for run in alone.values():
        train([run], teacher)
    together = [member(str(seed), teacher, seed=seed, recorder=recorder() if seed > 1 else None) for seed in (1, 2, 3)]
    train(together, teacher)
    assert [run.is_captured for run in together] == [False, True, True]
    assert all(same(run, alone[int(run.name)]) for run in together)


def test_it_is_recorded_once_after_some_batches(member, batch, recorder, teacher):
    one = recorder()
    run = member(teacher=teacher, recorder=one)
    run.start_epoch()
    for _ in range(WARM_UP):
        run.take(batch)
    assert not run.is_captured
    for _ in range(3):
        run.take(batch)
    assert (
        one.events
        == ["on_own_stream", "synchronized"] * WARM_UP + ["on_own_stream", "recorded"] + ["on_own_stream"] * 2
    )
    assert len(run.method.modes) == WARM_UP + 1  # from then on no Python of the method runs


def test_a_run_that_goes_on_is_recorded_again(train, member, teacher, recorder):
    whole, begun, resumed = (member(teacher=teacher, recorder=recorder()) for _ in range(3))
    train([whole], teacher)

    def stop(epoch, active):
        begun.finished = epoch == 0

    train([begun], teacher, report=stop)
    resumed.resume(begun.state({teacher}), {teacher})
    train([resumed], teacher, first=1)
    assert begun.is_captured
    assert resumed.is_captured
    assert same(whole, resumed)


def test_what_another_asked_a_teacher_is_not_recorded(train, member, teacher, tiny, recorder):
    """A plain member asks a network that the loop does not: what it was told lies at an address for one batch only."""
    shared = Frozen(tiny(98))

    def second_opinion(batch, loss):
        return loss + shared(batch.images).logits.square().mean()

    def run(captured):
        return member(teacher=teacher, spoil=second_opinion, recorder=recorder() if captured else None)

    def among(*members):
        for one in members:
            one.method.other = shared  # so that the loop has it forget
        train(members, teacher)
        return members

    (alone,), (_, beside) = among(run(False)), among(run(False), run(True))
    assert beside.is_captured
    assert same(alone, beside)
    assert losses(alone) == losses(beside)


def test_what_cannot_be_recorded_is_its_own_failure(train, member, teacher, recorder):
    def waits(batch, loss):
        return loss * (1.0 if loss.item() > 0 else 2.0)

    wrong = member("wrong", teacher, spoil=waits, recorder=recorder())
    right, alone = (member("right", teacher, seed=8, recorder=recorder()) for _ in range(2))
    train([wrong, right], teacher)
    train([alone], teacher)
    assert "capturing" in str(wrong.error)
    assert right.error is None
    assert same(right, alone)


def test_each_batch_ends_when_all_queues_have_been_joined(train, member, teacher, recorder):
    queues = [recorder(), recorder()]
    train([member(teacher=teacher, recorder=one) for one in queues], teacher, epochs=1)
    for one in queues:
        assert one.events == ["on_own_stream", "synchronized", "synchronized"] * WARM_UP + [
            "on_own_stream",
            "recorded",
            "synchronized",
        ]


def test_until_it_is_recorded_the_others_come_after_it(train, member, teacher, recorder):
    """They may find what it asked a network that they share: in a queue of its own it would be read too early."""
    first, order = recorder(), []
    ahead, behind = member(teacher=teacher, recorder=first), member(teacher=teacher, recorder=recorder())
    steps = behind.method.steps
    behind.method.steps = lambda batch: (order.append(first.events[-1]), steps(batch))[1]
    train([ahead, behind], teacher, epochs=1)
    assert order == ["synchronized"] * WARM_UP + ["recorded"]


def test_a_rate_is_written_into_the_tensor_that_was_recorded(train, member, teacher, recorder):
    steep = {"optimizer": Sgd(lr=0.5, momentum=0.0), "epochs": EPOCHS}
    falling, constant = (
        member(teacher=teacher, recorder=recorder(), schedule=schedule, **steep)
        for schedule in ({"name": "cosine"}, {"name": "constant"})
    )
    train([falling], teacher)
    train([constant], teacher)
    assert not same(falling, constant)


def test_nothing_is_collected_while_a_gpu_records(monkeypatch):
    """Torch's part is left out, so that it is seen without a GPU."""

    class Graph:
        def replay(self):
            played.append(gc.isenabled())

    recorded, played = [], []
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: None)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", lambda graph, stream: nullcontext())
    again = CudaGraphRecorder(torch.device("cuda")).record(lambda: recorded.append(gc.isenabled()))
    again()
    assert (recorded, played) == ([False], [True, True])


def test_only_a_gpu_records():
    assert recorder_for(torch.device("cpu")) is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU answers here")
def test_a_gpu_records():
    assert isinstance(recorder_for(torch.device("cuda")), CudaGraphRecorder)
