import pytest
import torch
from networks import count_parameters_at
from torch import nn

from kdbench import models


@pytest.mark.parametrize(
    ("name", "parameters"), [("wrn_40_2", 2_255_156), ("wrn_16_2", 703_284), ("wrn_40_1", 569_780)]
)
def test_the_published_number_of_parameters_at_100_classes(name: str, parameters: int) -> None:
    assert count_parameters_at(name, num_classes=100) == parameters


@pytest.mark.parametrize(
    ("name", "millions"),
    [("wrn_40_1", 0.6), ("wrn_40_2", 2.2), ("wrn_40_4", 8.9), ("wrn_16_8", 11.0), ("wrn_28_10", 36.5)],
)
def test_the_published_millions_at_10_classes(name: str, millions: float) -> None:
    assert round(count_parameters_at(name, num_classes=10) / 1e6, 1) == millions


def test_the_stages() -> None:
    with torch.device("meta"):
        network = models.build("wrn_10_2", num_classes=10, image_shape=(3, 32, 32))
        output = network(torch.empty(2, 3, 32, 32))
    assert [tuple(stage.shape[1:]) for stage in output.stages] == [(32, 32, 32), (64, 16, 16), (128, 8, 8)]


def forward_as_in_the_paper(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Run the network as in Figure 1(d) of the paper: batch norm, ReLU and convolution, twice per block."""
    x, norm = network.stem(images), None
    for stage in network.stages:
        for block in stage.blocks:
            active = torch.relu((norm or block.activation[0])(x))
            norm = None
            first, second_norm, _, second = block.residual
            residual = second(torch.relu(second_norm(first(active))))
            x = residual + (x if block.projection is None else block.projection(active))
        norm = stage.norm
    return network.head(torch.relu(norm(x)).mean(dim=(2, 3)))


@pytest.mark.parametrize("name", ["wrn_16_1", "wrn_16_2"])
def test_the_last_norm_of_a_stage_is_the_first_of_the_next_block(name: str) -> None:
    torch.manual_seed(0)
    network = models.build(name, num_classes=10, image_shape=(3, 12, 12)).train()
    images = torch.randn(4, 3, 12, 12)
    torch.testing.assert_close(network(images).logits, forward_as_in_the_paper(network, images))


def test_the_bias_of_the_head_starts_at_zero() -> None:
    network = models.build("wrn_10_1", num_classes=10, image_shape=(3, 8, 8))
    assert network.head.bias.tolist() == [0.0] * 10
