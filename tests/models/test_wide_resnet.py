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


def forward_as_in_the_paper(
    network: nn.Module, images: torch.Tensor
) -> tuple[torch.Tensor, list[torch.Tensor], list[torch.Tensor]]:
    """Run the network as in Figure 1(d) of the paper: batch norm, ReLU and convolution, twice per block.

    Returns the logits, the sum at the end of each stage, and the normalized input of each block that starts a stage.
    """
    x, sums, normalized = network.stem(images), [], []
    for stage in network.stages:
        normalized.append(stage.blocks[0].norm(x))
        for block in stage.blocks:
            active = torch.relu(block.norm(x))
            first, second_norm, _, second = block.residual
            residual = second(torch.relu(second_norm(first(active))))
            x = residual + (x if block.projection is None else block.projection(active))
        sums.append(x)
    last = network.pool[0](x)
    return network.head(torch.relu(last).mean(dim=(2, 3))), sums, [*normalized[1:], last]


@pytest.mark.parametrize("name", ["wrn_16_1", "wrn_16_2"])
def test_stages_are_sums_and_preacts_their_normalized_maps(name: str) -> None:
    torch.manual_seed(0)
    network = models.build(name, num_classes=10, image_shape=(3, 12, 12)).train()
    images = torch.randn(4, 3, 12, 12)
    output, (logits, sums, normalized) = network(images), forward_as_in_the_paper(network, images)
    torch.testing.assert_close(output.logits, logits)
    torch.testing.assert_close(list(output.stages), sums)
    torch.testing.assert_close(list(output.preacts), normalized)
    assert all(stage.min() < 0 for stage in output.stages)
    assert all(preact.min() < 0 for preact in output.preacts)


def test_every_batch_norm_is_updated_once_per_forward_pass() -> None:
    network = models.build("wrn_16_1", num_classes=10, image_shape=(3, 12, 12)).train()
    network(torch.randn(4, 3, 12, 12))
    assert {int(m.num_batches_tracked) for m in network.modules() if isinstance(m, nn.BatchNorm2d)} == {1}


def test_the_bias_of_the_head_starts_at_zero() -> None:
    network = models.build("wrn_10_1", num_classes=10, image_shape=(3, 8, 8))
    assert network.head.bias.tolist() == [0.0] * 10
