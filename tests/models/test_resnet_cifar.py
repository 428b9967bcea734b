import pytest
import torch

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
    with torch.device("meta"):
        network = models.build(name, num_classes=100, image_shape=(3, 32, 32))
    assert sum(p.numel() for p in network.parameters()) == parameters


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


def test_a_block_whose_residual_is_zero_is_its_shortcut() -> None:
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
