"""Logits, parameters, operations and inference time."""

import pytest
import torch
from torch import nn

from kdbench.training.evaluation import compute_logits, count_flops, count_parameters, measure_inference, time_inference
from kdbench.training.network import Frozen, Network, Output
from kdbench.training.precision import is_tf32_allowed, tf32_as_in


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
def test_logits_are_computed_in_eval_mode_and_the_mode_is_restored(network, images, mode):
    network.train(mode)
    logits = compute_logits(network, images.split(4))
    assert network.training is network.drop.training is mode
    torch.testing.assert_close(logits, network.eval()(images).logits.detach())
    assert not logits.requires_grad


def test_evaluation_clears_the_cache_of_a_frozen_network(network, images):
    frozen = Frozen(network)
    calls = []
    network.register_forward_hook(lambda module, arguments, output: calls.append(1))
    assert len(compute_logits(nn.Sequential(frozen), [images])) == 10
    frozen(images)
    assert len(calls) == 2


def test_the_mode_is_restored_after_an_exception(network):
    network.train()
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        compute_logits(network, [torch.zeros(1, 7)])
    assert network.training


def test_logits_are_computed_in_float32_without_autocast_and_tf32(network, images):
    expected, seen = network.eval()(images).logits, []
    network.register_forward_hook(lambda *_: seen.append((torch.is_autocast_enabled("cpu"), is_tf32_allowed())))
    with torch.autocast("cpu", dtype=torch.bfloat16), tf32_as_in("tf32"):
        assert torch.equal(compute_logits(network, [images]), expected)
        time_inference(network, (3, 2, 2), 2, seconds=0)
        assert torch.is_autocast_enabled("cpu")
        assert is_tf32_allowed()
    assert set(seen) == {(False, False)}


def test_shared_parameters_are_counted_once(network):
    assert count_parameters(network) == 12 * 5 + 5 + 5 * 5 + 5
    network.again = network.first
    assert count_parameters(network) == 12 * 5 + 5 + 5 * 5 + 5


@pytest.mark.parametrize("mode", [True, False])
def test_flops_of_linear_layers(network, mode):
    network.train(mode)
    assert count_flops(network, (3, 2, 2)) == 2 * (12 * 5 + 5 * 5 + 5 * 5)
    assert network.training is network.drop.training is mode


def test_flops_of_a_convolution():
    convolution = nn.Conv2d(2, 4, 3, padding=1, bias=False)
    assert count_flops(convolution, (2, 5, 6)) == 2 * (2 * 3 * 3) * 4 * 5 * 6


def test_times_are_positive_and_ordered(network):
    timing = time_inference(network.train(), (3, 2, 2), 4, seconds=0.01)
    assert network.training
    assert 0 < timing.median_ms <= timing.p95_ms


def test_throughput_is_at_batch_size_256(network):
    columns = measure_inference(network, (3, 2, 2))
    assert set(columns) == {
        *("inference_ms", "inference_ms_p95", "inference_ms_256", "inference_ms_256_p95", "throughput"),
    }
    assert columns["throughput"] == pytest.approx(256 / (columns["inference_ms_256"] / 1000))
    assert min(columns.values()) > 0


@pytest.mark.parametrize(("seconds", "expected"), [(0.01, 20), (0.2, 20), (0.5, 10), (4.0, 3)])
def test_a_slow_network_is_timed_less_often(network, monkeypatch, seconds, expected):
    """`seconds`: of one forward pass; the first few are warm-up."""
    calls = []
    monkeypatch.setattr(
        "kdbench.training.evaluation._time_forward", lambda network, images: calls.append(1) or seconds * 1000
    )
    time_inference(network, (3, 2, 2), 4, seconds=0.1)
    warm_up = 5 if seconds <= 0.2 else 2
    assert len(calls) == warm_up + expected
