"""Where a network runs for its shapes."""

import pytest
import torch
from torch import nn

from kdbench.training import dry_run
from kdbench.training.dry_run import run_dry

SHAPE = (1, 2, 2)


class Weighted(nn.Module):
    """Returns its weights times the sum of the images."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.register_buffer("offset", torch.ones(1))

    def forward(self, images):
        assert not self.training
        return images.sum() * self.weight + self.offset + torch.zeros(3)


class Unregistered(Weighted):
    """Has a tensor that is neither a parameter nor a buffer, and stays on the device on which it was built."""

    def __init__(self):
        super().__init__()
        self.factor = torch.ones(1)

    def forward(self, images):
        return torch.add(super().forward(images), self.factor.expand(3))


@pytest.mark.parametrize("built_on", ["cpu", "meta"])
def test_a_small_network_runs_on_the_cpu_without_its_weights(built_on):
    with torch.device(built_on):
        network = Weighted()
        output = run_dry(network, SHAPE)
    assert output.device.type == "cpu"
    assert output.tolist() == [0, 0, 0]
    assert network.weight.device.type == built_on
    assert network.training
    assert not output.requires_grad


@pytest.mark.parametrize(("limit", "value"), [("MAX_PARAMETERS", 3), ("MAX_PIXELS", 3)])
def test_a_large_network_or_image_is_on_the_meta_device(monkeypatch, limit, value):
    monkeypatch.setattr(dry_run, limit, value)
    assert run_dry(Weighted(), SHAPE).device.type == "meta"


def test_a_network_that_raises_on_the_cpu_runs_on_the_meta_device():
    with torch.device("meta"):
        network = Unregistered()
    assert run_dry(network, SHAPE).device.type == "meta"


def test_the_number_of_threads_is_restored():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        run_dry(Weighted(), SHAPE)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
