"""Captured steps: equal to eager ones, isolated from other members, and failing alone."""

import gc
from contextlib import nullcontext

import pytest
import torch

from kdbench.matrix.recipe import OneCycle, Sgd
from kdbench.training import optimizer
from kdbench.training.cuda_graphs import WARM_UP, CudaGraphRecorder, make_recorder
from kdbench.training.loop import CohortLoop
from kdbench.training.network import Frozen
from kdbench.training.static_batches import GraphedTeacher, StaticBatches

EPOCHS = 3


@pytest.fixture(autouse=True)
def graphs_on_the_cpu(monkeypatch):
    monkeypatch.setattr(optimizer, "GRAPH_DEVICES", {"cpu"})


@pytest.fixture
def train(batches, recorder):
    """`train(members, teacher)`: train a cohort on static batches with a graphed teacher."""

    def run(members, teacher, epochs=EPOCHS, first=0, on_epoch_end=lambda epoch, active: None):
        forwards = {teacher: GraphedTeacher(teacher, recorder())}
        loop = CohortLoop(members, StaticBatches(batches), [teacher], lambda member: {}, on_epoch_end, forwards)
        loop.train(epochs, first)

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
def test_a_captured_run_equals_an_eager_one(train, member, teacher, recorder, precision):
    """With dropout, random noise, batch norm, two players and a learning rate that changes."""
    eager = member(teacher=teacher, precision=precision)
    captured = member(teacher=teacher, precision=precision, recorder=recorder())
    train([eager], teacher)
    train([captured], teacher)
    assert captured.is_captured
    assert not eager.is_captured
    assert same(eager, captured)
    assert losses(eager) == losses(captured)


def test_a_captured_run_is_the_same_in_a_cohort_as_alone(train, member, teacher, recorder):
    alone = {seed: member(str(seed), teacher, seed=seed) for seed in (1, 2, 3)}
    for run in alone.values():
        train([run], teacher)
    together = [member(str(seed), teacher, seed=seed, recorder=recorder() if seed > 1 else None) for seed in (1, 2, 3)]
    train(together, teacher)
    assert [run.is_captured for run in together] == [False, True, True]
    assert all(same(run, alone[int(run.name)]) for run in together)


def test_steps_are_captured_once_after_the_warm_up(member, batch, recorder, teacher):
    one = recorder()
    run = member(teacher=teacher, recorder=one)
    run.start_epoch()
    for _ in range(WARM_UP):
        run.train_batch(batch)
    assert not run.is_captured
    for _ in range(3):
        run.train_batch(batch)
    assert (
        one.events
        == ["on_own_stream", "synchronized"] * WARM_UP + ["on_own_stream", "recorded"] + ["on_own_stream"] * 2
    )
    assert len(run.method.modes) == WARM_UP + 1  # replays run no Python


def test_a_resumed_run_is_captured_again(train, member, teacher, recorder):
    complete, interrupted, resumed = (member(teacher=teacher, recorder=recorder()) for _ in range(3))
    train([complete], teacher)

    def stop(epoch, active):
        interrupted.is_finished = epoch == 0

    train([interrupted], teacher, on_epoch_end=stop)
    resumed.load_state_dict(interrupted.state_dict({teacher}), {teacher})
    train([resumed], teacher, first=1)
    assert interrupted.is_captured
    assert resumed.is_captured
    assert same(complete, resumed)


def test_an_output_cached_by_another_member_is_not_captured(train, member, teacher, tiny, recorder):
    """An eager member fills the cache of a network that the loop does not call, with tensors of one batch only."""
    shared = Frozen(tiny(98))

    def add_term(batch, loss):
        return loss + shared(batch.images).logits.square().mean()

    def run(is_graphed):
        return member(teacher=teacher, change_loss=add_term, recorder=recorder() if is_graphed else None)

    def train_with_shared(*members):
        for one in members:
            one.method.other = shared  # so that the loop clears its cache
        train(members, teacher)
        return members

    (alone,), (_, beside) = train_with_shared(run(False)), train_with_shared(run(False), run(True))
    assert beside.is_captured
    assert same(alone, beside)
    assert losses(alone) == losses(beside)


def test_steps_that_cannot_be_captured_fail_their_run_only(train, member, teacher, recorder):
    def synchronize(batch, loss):
        return loss * (1.0 if loss.item() > 0 else 2.0)

    bad = member("bad", teacher, change_loss=synchronize, recorder=recorder())
    good, alone = (member("good", teacher, seed=8, recorder=recorder()) for _ in range(2))
    train([bad, good], teacher)
    train([alone], teacher)
    assert "capturing" in str(bad.error)
    assert good.error is None
    assert same(good, alone)


def test_all_streams_are_synchronized_after_each_batch(train, member, teacher, recorder):
    recorders = [recorder(), recorder()]
    train([member(teacher=teacher, recorder=one) for one in recorders], teacher, epochs=1)
    for one in recorders:
        assert one.events == ["on_own_stream", "synchronized", "synchronized"] * WARM_UP + [
            "on_own_stream",
            "recorded",
            "synchronized",
        ]


def test_eager_steps_are_synchronized_before_the_next_member(train, member, teacher, recorder):
    """The next member may read an output that they put into the cache of a shared network."""
    first, order = recorder(), []
    leading, following = member(teacher=teacher, recorder=first), member(teacher=teacher, recorder=recorder())
    steps = following.method.steps
    following.method.steps = lambda batch: (order.append(first.events[-1]), steps(batch))[1]
    train([leading, following], teacher, epochs=1)
    assert order == ["synchronized"] * WARM_UP + ["recorded"]


def test_a_captured_step_uses_the_current_learning_rate(train, member, teacher, recorder):
    recipe = {"optimizer": Sgd(lr=0.5, momentum=0.0), "epochs": EPOCHS}
    falling, constant = (
        member(teacher=teacher, recorder=recorder(), schedule=schedule, **recipe)
        for schedule in ({"name": "cosine"}, {"name": "constant"})
    )
    train([falling], teacher)
    train([constant], teacher)
    assert not same(falling, constant)


def test_garbage_collection_is_paused_during_a_capture(monkeypatch):
    """Torch's part is replaced, so that the test needs no GPU."""

    class Graph:
        def replay(self):
            replayed.append(gc.isenabled())

    captured, replayed = [], []
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: None)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", lambda graph, stream: nullcontext())
    replay = CudaGraphRecorder(torch.device("cuda")).record(lambda: captured.append(gc.isenabled()))
    replay()
    assert (captured, replayed) == ([False], [True, True])


def test_a_run_whose_momentum_changes_is_not_captured(member, recorder):
    assert not member(recorder=recorder(), schedule=OneCycle(cycle_momentum=True)).uses_cuda_graph
    assert member(recorder=recorder(), schedule=OneCycle()).uses_cuda_graph


def test_a_cpu_has_no_recorder():
    assert make_recorder(torch.device("cpu")) is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_has_a_recorder():
    assert isinstance(make_recorder(torch.device("cuda")), CudaGraphRecorder)
