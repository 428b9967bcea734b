"""The operations of a network, before anything was measured."""

import pytest
import torch
from torch import nn

from kdbench import Network, Output, models
from kdbench.plan.operations import count_operations
from kdbench.training.evaluation import count_flops

SHAPE = (3, 8, 8)


class Unregistered(Network):
    """Cannot run on the CPU when it was built on the meta device: one of its tensors stays there."""

    def __init__(self) -> None:
        super().__init__(5, SHAPE)
        self.first, self.second = nn.Linear(192, 4), nn.Linear(4, 5)
        self.factor = torch.ones(1)

    def forward(self, images: torch.Tensor) -> Output:
        embedding = torch.add(self.first(images.flatten(1)), self.factor.expand(4))
        return Output(self.second(embedding), (), (), embedding)


@pytest.mark.parametrize("name", ["mlp_16_8", "cnn_4_8_fc6", "resnet8", "wrn_10_1", "mobilenetv2_half"])
def test_they_are_those_of_the_convolutions_and_linear_layers(name: str) -> None:
    network = models.build(name, num_classes=5, image_shape=SHAPE)
    assert count_operations(network) == count_flops(network, SHAPE)
    assert network.training
    assert not any(module._forward_hooks for module in network.modules())


def test_a_network_that_starts_again_on_the_meta_device_is_counted_once() -> None:
    with torch.device("meta"):
        network = Unregistered()
    assert count_operations(network) == 2 * (192 * 4 + 4 * 5)
