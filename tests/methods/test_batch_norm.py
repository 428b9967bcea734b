"""How often a batch updates the running statistics of batch norms."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from kdbench.methods.modules import constant_statistics
from kdbench.methods.online.dml import DML
from kdbench.testing.networks import random_batch


def norms(network):
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]


def test_every_method_updates_the_batch_norms_of_its_players_once_a_batch(build, parts, teacher):
    method = build(parts, teacher).train()
    if "zskt" in parts:
        pytest.skip("every pass of its student updates them, as its docstring says")
    for progress in (0.1, 0.6):
        for _ in method.steps(replace(random_batch(method.views), progress=progress)):
            pass
    players = [norm for player in method.players().values() for norm in norms(player)]
    assert {int(norm.num_batches_tracked) for norm in norms(method.student)} == {2}
    assert max(int(norm.num_batches_tracked) for norm in players) == 2


def test_the_statistics_of_a_dml_player_are_those_of_its_first_pass(tiny, batch):
    networks = [tiny(seed) for seed in range(3)]
    references = copy.deepcopy(networks)
    for _ in DML(networks[0], networks[1:]).train().steps(batch):
        for parameter in [p for network in networks for p in network.parameters()]:
            parameter.data.mul_(1.01)  # the second pass has other statistics
    for network, reference in zip(networks, references, strict=True):
        reference.train()(batch.images)
        for ours, theirs in zip(norms(network), norms(reference), strict=True):
            assert torch.equal(ours.running_mean, theirs.running_mean)
            assert torch.equal(ours.running_var, theirs.running_var)


def test_constant_statistics_uses_those_of_the_batch_and_updates_none(tiny, batch):
    network, twin = tiny(1).train(), tiny(1).train()
    before = copy.deepcopy(network.state_dict())
    with constant_statistics(network):
        output = network(batch.images).logits
    assert torch.equal(output, twin(batch.images).logits)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    network(batch.images)
    assert {int(norm.num_batches_tracked) for norm in norms(network)} == {1}


def test_constant_statistics_changes_nothing_in_eval_mode(tiny, batch):
    network = tiny(1).eval()
    expected = network(batch.images).logits
    with constant_statistics(network):
        assert torch.equal(network(batch.images).logits, expected)
