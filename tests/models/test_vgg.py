import pytest
import torch

from kdbench import models


@pytest.mark.parametrize(("name", "parameters"), [("vgg8", 3_965_028), ("vgg13", 9_462_180)])
def test_the_published_number_of_parameters_at_100_classes(name: str, parameters: int) -> None:
    with torch.device("meta"):
        network = models.build(name, num_classes=100, image_shape=(3, 32, 32))
    assert sum(p.numel() for p in network.parameters()) == parameters


@pytest.mark.parametrize("depth", [8, 11, 13, 16, 19])
def test_the_depth_counts_convolutions_and_three_linear_layers(depth: int) -> None:
    """As in the paper, which has three linear layers; vgg8 counts in the same way."""
    with torch.device("meta"):
        network = models.build(f"vgg{depth}", num_classes=10, image_shape=(3, 32, 32))
    assert sum(isinstance(m, torch.nn.Conv2d) for m in network.modules()) == depth - 3


@pytest.mark.parametrize(
    ("side", "sides"), [(32, [32, 16, 8, 4, 4]), (64, [64, 32, 16, 8, 4]), (28, [28, 14, 7, 4, 4])]
)
def test_the_stages(side: int, sides: list[int]) -> None:
    with torch.device("meta"):
        network = models.build("vgg11", num_classes=10, image_shape=(3, side, side))
        output = network(torch.empty(2, 3, side, side))
    expected = [(width, size, size) for width, size in zip([64, 128, 256, 512, 512], sides, strict=True)]
    assert [tuple(stage.shape[1:]) for stage in output.stages] == expected


def test_biases_of_convolutions_start_at_zero() -> None:
    network = models.build("vgg8", num_classes=10, image_shape=(1, 8, 8))
    assert [m.bias.abs().max().item() for m in network.modules() if isinstance(m, torch.nn.Conv2d)] == [0.0] * 5
