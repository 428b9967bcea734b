"""Logits, parameters, operations and time."""

import pytest
import torch
from torch import nn

from kdbench.training.evaluation import flops, inference_columns, logits_of, parameter_count, time_inference
from kdbench.training.network import Frozen, Network, Output


class Flat(Network):
    """Two linear layers with dropout between them; the second is used twice."""

    def __init__(self):
        super().__init__(5, (3, 2, 2))
        self.first, self.second = nn.Linear(12, 5), nn.Linear(5, 5)
        self.drop = nn.Dropout(0.5)

    def forward(self, images):
        embedding = self.drop(self.first(images.flatten(1)))
        return Output(self.second(self.second(embedding)), (), (), embedding)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Flat()


@pytest.fixture
def images():
    return torch.randn(10, 3, 2, 2, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("mode", [True, False])
def test_logits_are_those_of_eval_mode_and_the_mode_is_restored(network, images, mode):
    network.train(mode)
    found = logits_of(network, images.split(4), "fp32")
    assert network.training is network.drop.training is mode
    torch.testing.assert_close(found, network.eval()(images).logits.detach())
    assert not found.requires_grad


def test_evaluation_leaves_nothing_in_a_frozen_networks_memory(network, images):
    frozen = Frozen(network)
    found = logits_of(nn.Sequential(frozen), images.split(4), "fp32")
    assert len(found) == 10
    assert frozen._memory == []


def test_the_mode_is_restored_after_an_exception(network):
    network.train()
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        logits_of(network, [torch.zeros(1, 7)], "fp32")
    assert network.training


def test_logits_are_float32_whatever_the_precision(network, images):
    exact, rounded = (logits_of(network, [images], precision) for precision in ("fp32", "bf16"))
    assert exact.dtype == rounded.dtype == torch.float32
    assert not torch.equal(exact, rounded)
    torch.testing.assert_close(exact, rounded, atol=0.05, rtol=0.05)


def test_parameters_are_counted_once(network):
    assert parameter_count(network) == 12 * 5 + 5 + 5 * 5 + 5
    network.again = network.first
    assert parameter_count(network) == 12 * 5 + 5 + 5 * 5 + 5


@pytest.mark.parametrize("mode", [True, False])
def test_operations_of_linear_layers(network, mode):
    network.train(mode)
    assert flops(network, (3, 2, 2)) == 2 * (12 * 5 + 5 * 5 + 5 * 5)
    assert network.training is network.drop.training is mode


def test_operations_of_a_convolution():
    convolution = nn.Conv2d(2, 4, 3, padding=1, bias=False)
    assert flops(convolution, (2, 5, 6)) == 2 * (2 * 3 * 3) * 4 * 5 * 6


def test_times_are_positive_and_ordered(network):
    timing = time_inference(network.train(), (3, 2, 2), 4, seconds=0.01)
    assert network.training
    assert 0 < timing.median_ms <= timing.p95_ms


def test_throughput_follows_from_the_time_of_256_images(network):
    columns = inference_columns(network, (3, 2, 2))
    assert set(columns) == {
        *("inference_ms", "inference_ms_p95", "inference_ms_256", "inference_ms_256_p95", "throughput"),
    }
    assert columns["throughput"] == pytest.approx(256 / (columns["inference_ms_256"] / 1000))
    assert min(columns.values()) > 0


@pytest.mark.parametrize(("each", "expected"), [(0.01, 20), (0.3, 20), (1.0, 10), (8.0, 3)])
def test_a_slow_network_is_timed_less_often(network, monkeypatch, each, expected):
    """`each`: seconds of one forward pass; the first few are for warming up."""
    calls = []
    monkeypatch.setattr("kdbench.training.evaluation._timed", lambda network, images: calls.append(each) or each * 1000)
    time_inference(network, (3, 2, 2), 4, seconds=0.1)
    warm = 5 if each <= 0.4 else 2
    assert len(calls) == warm + expected
