from itertools import pairwise

import pytest
import torch
from networks import count_parameters_at

from kdbench import models


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("resnet8x4", 1_233_540),
        ("resnet32x4", 7_433_860),
        ("resnet20", 278_324),
        ("resnet56", 861_620),
        ("resnet110", 1_736_564),
    ],
)
def test_the_published_number_of_parameters_at_100_classes(name: str, parameters: int) -> None:
    assert count_parameters_at(name, num_classes=100) == parameters


@pytest.mark.parametrize(
    ("name", "millions"),
    [("resnet20", 0.27), ("resnet32", 0.46), ("resnet44", 0.66), ("resnet56", 0.85), ("resnet110", 1.7)],
)
def test_the_numbers_of_parameters_of_table_6(name: str, millions: float) -> None:
    """With 10 classes. In the paper shortcuts have no weights; here two projections have 2,752 with their norms."""
    with torch.device("meta"):
        network = models.build(name, num_classes=10, image_shape=(3, 32, 32))
    projections = [
        m for stage in network.stages for m in [stage.first.shortcut] if not isinstance(m, torch.nn.Identity)
    ]
    added = sum(p.numel() for m in projections for p in m.parameters())
    assert added == 16 * 32 + 2 * 32 + 32 * 64 + 2 * 64 == 2752
    count = (sum(p.numel() for p in network.parameters()) - added) / 1e6
    assert round(count, 1 if name == "resnet110" else 2) == millions


@pytest.mark.parametrize(
    ("name", "blocks", "widths"),
    [("resnet8", 1, (16, 16, 32, 64)), ("resnet14", 2, (16, 16, 32, 64)), ("resnet8x4", 1, (32, 64, 128, 256))],
)
def test_the_number_of_parameters_follows_the_formula(name: str, blocks: int, widths: tuple[int, ...]) -> None:
    """3x3 weights, two batch norm parameters per channel, a projection where the shape changes, and the head."""
    with torch.device("meta"):
        network = models.build(name, num_classes=10, image_shape=(3, 32, 32))
    expected = 3 * 9 * widths[0] + 2 * widths[0] + (widths[-1] + 1) * 10
    for before, after in pairwise(widths):
        expected += 9 * before * after + (2 * blocks - 1) * 9 * after * after + 2 * blocks * 2 * after
        expected += 0 if before == after else before * after + 2 * after
    assert sum(p.numel() for p in network.parameters()) == expected


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("resnet14", [(16, 32, 32), (32, 16, 16), (64, 8, 8)]),
        ("resnet8x4", [(64, 32, 32), (128, 16, 16), (256, 8, 8)]),
    ],
)
def test_the_stages(name: str, shapes: list[tuple[int, int, int]]) -> None:
    with torch.device("meta"):
        network = models.build(name, num_classes=10, image_shape=(3, 32, 32))
        output = network(torch.empty(2, 3, 32, 32))
    assert [tuple(stage.shape[1:]) for stage in output.stages] == shapes
    assert output.embedding.shape == (2, shapes[-1][0])


def test_the_embedding_is_the_mean_of_the_last_maps() -> None:
    network = models.build("resnet8", num_classes=10, image_shape=(1, 8, 8)).eval()
    output = network(torch.randn(2, 1, 8, 8))
    torch.testing.assert_close(output.embedding, output.stages[-1].mean(dim=(2, 3)))
    torch.testing.assert_close(output.logits, network.head(output.embedding))


def test_a_block_with_zero_residual_is_its_shortcut() -> None:
    network = models.build("resnet14", num_classes=10, image_shape=(1, 8, 8)).eval()
    block = network.stages[0].others[0]
    torch.nn.init.zeros_(block.residual[-1].weight)
    maps = torch.rand(2, 16, 8, 8)
    assert torch.equal(block(maps), maps)


def test_convolutions_are_kaiming_normal_by_fan_out() -> None:
    torch.manual_seed(0)
    block = models.build("resnet8x4", num_classes=10, image_shape=(3, 8, 8)).stages[2].first
    assert abs(block.residual[0].weight.std().item() - (2 / (9 * 256)) ** 0.5) < 1e-3
    assert abs(block.shortcut[0].weight.std().item() - (2 / 256) ** 0.5) < 2e-3
