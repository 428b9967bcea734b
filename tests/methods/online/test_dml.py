"""Deep mutual learning against Algorithm 1, written out."""

import copy

import pytest
import torch

from kdbench.errors import MethodError
from kdbench.methods.online.dml import DML

RATE = 0.5


def play(method, batch, precision=None):
    """Step as the harness does; the player and the terms of every step."""
    steps, record = method.steps(batch), []
    while True:
        with torch.autocast("cpu", dtype=precision, enabled=precision is not None):
            step = next(steps, None)
        if step is None:
            return record
        parameters = list(method.players()[step.player].parameters())
        for parameter, gradient in zip(
            parameters, torch.autograd.grad(sum(step.losses.values()), parameters), strict=True
        ):
            parameter.data -= RATE * gradient
        record.append((step.player, {name: float(loss.detach()) for name, loss in step.losses.items()}))


def algorithm_1(networks, batch):
    """Compute the reference: every prediction again for every step."""
    record = []
    rows = torch.arange(len(batch.labels))
    for i, network in enumerate(networks):
        p = [other(batch.images).logits.softmax(dim=1) for other in networks]
        others = [p[j].detach() for j in range(len(networks)) if j != i]
        ce = -p[i][rows, batch.labels].log().mean()
        kl = sum((q * (q / p[i]).log()).sum() / len(rows) for q in others) / len(others)
        parameters = list(network.parameters())
        for parameter, gradient in zip(parameters, torch.autograd.grad(ce + kl, parameters), strict=True):
            parameter.data -= RATE * gradient
        record.append({"ce": float(ce.detach()), "kl": float(kl.detach())})
    return record


@pytest.fixture
def method(tiny):
    return DML(tiny(1), [tiny(2, (6, 8, 12)), tiny(3, (4, 4, 4))])


@pytest.mark.parametrize("count", [2, 3])
def test_every_step_is_algorithm_1(tiny, batch, count):
    networks = [tiny(seed) for seed in range(count)]
    method = DML(*_student_and_peers(copy.deepcopy(networks)))
    for _ in range(2):
        found, expected = play(method, batch), algorithm_1(networks, batch)
        assert [player for player, _ in found] == ["student", "peer1", "peer2"][:count]
        for (_, losses), reference in zip(found, expected, strict=True):
            assert losses == pytest.approx(reference, rel=1e-4, abs=1e-6)
    for player, network in zip(method.players().values(), networks, strict=True):
        for parameter, reference in zip(player.parameters(), network.parameters(), strict=True):
            torch.testing.assert_close(parameter, reference, rtol=1e-4, atol=1e-5)


def test_autocast_gives_the_same_losses_in_float32(tiny, batch):
    networks = [tiny(1), tiny(2)]
    found = play(DML(*_student_and_peers(copy.deepcopy(networks))), batch, torch.bfloat16)
    for (_, losses), reference in zip(found, algorithm_1(networks, batch), strict=True):
        assert losses == pytest.approx(reference, abs=0.05)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        step = next(DML(*_student_and_peers(networks)).steps(batch))
    assert {loss.dtype for loss in step.losses.values()} == {torch.float32}


def test_a_network_learns_from_the_peer_that_has_just_stepped(tiny, batch):
    student, peer = tiny(1), tiny(2)
    steps = DML(student, [peer]).steps(batch)
    next(steps)
    before = student(batch.images).logits.softmax(dim=1)
    with torch.no_grad():
        student.head.weight.mul_(-5)
    after, p = student(batch.images).logits.softmax(dim=1), peer(batch.images).logits.softmax(dim=1)
    old, new = ((q * (q / p).log()).sum(dim=1).mean().item() for q in (before, after))
    assert abs(old - new) > 0.01
    assert next(steps).losses["kl"].item() == pytest.approx(new, rel=1e-4)


def test_a_step_changes_no_other_network(method, batch):
    for step in method.steps(batch):
        loss = sum(step.losses.values())
        own = list(method.players()[step.player].parameters())
        others = [p for name, n in method.players().items() if name != step.player for p in n.parameters()]
        gradients = torch.autograd.grad(loss, [*own, *others], allow_unused=True)
        assert all(gradient is not None for gradient in gradients[: len(own)])
        assert all(gradient is None for gradient in gradients[len(own) :])


def test_every_network_graduates_and_the_student_is_first(method):
    assert list(method.deployed()) == ["student", "peer1", "peer2"]
    assert method.deployed()["student"] is method.student
    assert method.deployed()["peer2"] is method.peers[1]


def test_a_student_alone_is_refused(student):
    with pytest.raises(MethodError, match="at least one peer, got none; give peers="):
        DML(student, [])


def _student_and_peers(networks):
    student, *peers = networks
    return student, peers
