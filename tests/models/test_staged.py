import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kdbench import models

NAMES = [
    *("mlp_16_8", "cnn_4", "cnn_4_8_6", "cnn_4_8_fc6", "cnn_student", "resnet8", "resnet18", "wrn_10_1", "wrn_10_2"),
    *("vgg8", "mobilenetv2_half", "shufflenetv1", "shufflenetv2"),
]
LINEAR = ["mobilenetv2_half", "wrn_10_1", "wrn_10_2"]  # stages without an activation


def build(name: str, num_classes: int = 5, shape: tuple[int, int, int] = (3, 12, 12)) -> torch.nn.Module:
    torch.manual_seed(0)
    return models.build(name, num_classes=num_classes, image_shape=shape)


@pytest.mark.slow
@given(
    name=st.sampled_from(NAMES),
    classes=st.integers(1, 12),
    channels=st.sampled_from([1, 3, 4]),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
)
def test_output_shapes_for_every_image_size(name: str, classes: int, channels: int, height: int, width: int) -> None:
    with torch.device("meta"):
        network = build(name, classes, (channels, height, width))
        output = network(torch.empty(2, channels, height, width))
    assert output.logits.shape == (2, classes)
    assert output.embedding.shape == (2, network.head.in_features)
    assert len(output.stages) == len(network.stages)
    assert [s.shape for s in output.stages] == [p.shape for p in output.preacts]
    assert all(s.ndim == 4 and min(s.shape) > 0 for s in output.stages)


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(LINEAR)))
def test_stages_are_the_preacts_after_relu(name: str) -> None:
    output = build(name).eval()(torch.randn(3, 3, 12, 12))
    for stage, preact in zip(output.stages, output.preacts, strict=True):
        assert torch.equal(stage, preact.relu())
        assert preact.min() < 0


@pytest.mark.parametrize("name", NAMES)
def test_the_recombined_parts_are_the_network(name: str) -> None:
    network, images = build(name).eval(), torch.randn(3, 3, 12, 12)
    maps = network.stem(images)
    for stage in network.stages:
        maps, _ = stage(maps)
    embedding = network.pool(maps)
    output = network(images)
    assert torch.equal(embedding, output.embedding)
    assert torch.equal(network.head(embedding), output.logits)


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_is_the_same_network_and_shares_nothing(name: str) -> None:
    network, images = build(name).eval(), torch.randn(3, 3, 12, 12)
    twin = copy.deepcopy(network)
    before = network(images).logits
    assert torch.equal(twin(images).logits, before)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(1.0)
    assert torch.equal(network(images).logits, before)


@pytest.mark.parametrize("name", NAMES)
def test_channels_last_gives_the_same_numbers(name: str) -> None:
    network, images = build(name).eval(), torch.randn(3, 3, 12, 12)
    expected = network(images).logits
    network = network.to(memory_format=torch.channels_last)
    found = network(images.contiguous(memory_format=torch.channels_last)).logits
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_gets_a_gradient_in_training(name: str) -> None:
    network = build(name).train()
    network(torch.randn(4, 3, 12, 12)).logits.square().sum().backward()
    assert [n for n, p in network.named_parameters() if p.grad is None] == []
