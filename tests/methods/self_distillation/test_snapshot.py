"""Snapshot distillation: its loss, and when and how the past changes."""

import copy
from dataclasses import replace

import pytest
import torch

from kdbench.matrix.recipe import Cosine
from kdbench.methods.self_distillation.snapshot import Snapshot
from kdbench.training.method import OptimizerSpec
from kdbench.training.network import Frozen


def state(network):
    return copy.deepcopy(network.state_dict())


def same(one, other):
    return all(torch.equal(value, other[name]) for name, value in one.items())


def move(network):
    """Other weights and other running statistics."""
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.add_(1 if tensor.dtype == torch.int64 else 0.1 * torch.randn(tensor.shape))


def test_first_cycle_is_cross_entropy_with_weight_one(student, batch):
    reference = -student(batch.images).logits.log_softmax(dim=1)[range(8), batch.labels].mean()
    step = next(Snapshot(student, cycles=4).steps(replace(batch, progress=0.249)))
    assert list(step.losses) == ["ce"]
    assert step.losses["ce"].item() == pytest.approx(reference.item(), rel=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_later_cycles_are_the_formula(student, batch, temperature):
    method = Snapshot(student, cycles=4, temperature=temperature)
    past = copy.deepcopy(student).eval()
    next(method.steps(replace(batch, progress=0.25)))
    move(student)
    step = next(method.steps(replace(batch, progress=0.3)))
    log_q = student(batch.images).logits.log_softmax(dim=1)
    p = (past(batch.images).logits / temperature).exp()
    p = p / p.sum(dim=1, keepdim=True)
    hard, soft = -log_q[range(8), batch.labels].mean(), -(p * log_q).sum() / 8
    assert step.losses["ce"].item() == pytest.approx((1 + 1 / temperature) * hard.item(), rel=1e-4)
    assert step.losses["soft"].item() == pytest.approx(soft.item(), rel=1e-4)


@pytest.mark.parametrize(("cycles", "steps"), [(4, 12), (3, 10), (2, 7), (1, 3), (4, 2), (22, 22)])
def test_the_snapshot_changes_exactly_between_cycles(student, batch, cycles, steps):
    method = Snapshot(student, cycles=cycles)
    for step in range(steps):
        move(student)
        present, past = state(student), state(method.snapshot.network)
        next(method.steps(replace(batch, progress=step / steps)))
        crossed = step > 0 and step * cycles // steps > (step - 1) * cycles // steps
        assert same(method.snapshot.network.state_dict(), present if crossed else past)
        assert method.cycle == step * cycles // steps


def test_the_end_of_the_run_is_in_the_last_cycle(student, batch):
    method = Snapshot(student, cycles=2)
    next(method.steps(replace(batch, progress=1.0)))
    assert method.cycle == 1


def test_the_snapshot_is_not_trained(student, batch):
    method = Snapshot(student, cycles=2)
    method.train()
    next(method.steps(batch))
    past = state(method.snapshot)
    for _ in range(3):
        step = next(method.steps(replace(batch, progress=0.7)))
        sum(step.losses.values()).backward()
        with torch.no_grad():
            for parameter in method.players()["student"].parameters():
                parameter -= 0.1 * parameter.grad
    assert same(method.snapshot.state_dict(), past)
    assert not any(module.training for module in method.snapshot.modules())
    assert not any(parameter.requires_grad for parameter in method.snapshot.parameters())
    assert not {*method.snapshot.parameters()} & {*method.players()["student"].parameters()}
    assert not same(method.snapshot.network.state_dict(), method.student.state_dict())


def test_the_snapshot_is_part_of_a_checkpoint(tiny, batch):
    method, later = Snapshot(tiny(1), cycles=4), replace(batch, progress=0.3)
    next(method.steps(replace(batch, progress=0.25)))
    move(method.student)
    resumed = Snapshot(tiny(7), cycles=4)
    resumed.load_state_dict(state(method))
    expected, found = next(method.steps(later)).losses, next(resumed.steps(later)).losses
    assert {name: loss.item() for name, loss in found.items()} == {name: loss.item() for name, loss in expected.items()}
    assert resumed.cycle == 1
    assert same(resumed.snapshot.network.state_dict(), method.snapshot.network.state_dict())
    assert not same(resumed.snapshot.network.state_dict(), resumed.student.state_dict())


def test_a_new_snapshot_clears_the_cached_outputs(student, batch):
    method = Snapshot(student, cycles=4)
    old = next(method.steps(replace(batch, progress=0.25))).losses["soft"].item()
    move(student)
    fresh = Snapshot(copy.deepcopy(student), cycles=2)
    new = next(method.steps(replace(batch, progress=0.5))).losses["soft"].item()
    reference = next(fresh.steps(replace(batch, progress=0.5))).losses["soft"].item()
    assert new == pytest.approx(reference, rel=1e-5)
    assert new != pytest.approx(old, rel=1e-3)


def test_the_rate_restarts_with_every_cycle(student):
    assert Snapshot(student, cycles=3).optimizers() == {"student": OptimizerSpec(schedule=Cosine(), cycles=3)}


def test_the_student_trains_and_is_deployed(student):
    method = Snapshot(student)
    assert isinstance(method.snapshot, Frozen)
    assert list(method.players()["student"].children()) == [student]
    assert method.deployed() == {"student": student}
