import pytest
import torch

from kdbench import models


def count(name: str, num_classes: int, side: int) -> int:
    with torch.device("meta"):
        network = models.build(name, num_classes=num_classes, image_shape=(3, side, side))
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("resnet18", 11_689_512),
        ("resnet34", 21_797_672),
        ("resnet50", 25_557_032),
        ("resnet101", 44_549_160),
        ("resnet152", 60_192_808),
    ],
)
def test_the_published_number_of_parameters_on_imagenet(name: str, parameters: int) -> None:
    assert count(name, 1000, 224) == parameters


@pytest.mark.parametrize(
    ("name", "parameters"), [("resnet18", 11_220_132), ("resnet34", 21_328_292), ("resnet50", 23_705_252)]
)
def test_the_published_number_of_parameters_on_cifar_100(name: str, parameters: int) -> None:
    assert count(name, 100, 32) == parameters
    assert count(f"{name}_cifar", 100, 32) == parameters


@pytest.mark.parametrize(
    ("name", "side", "first"),
    [
        ("resnet18", 32, 32),
        ("resnet18", 64, 64),
        ("resnet18", 65, 17),
        ("resnet18", 224, 56),
        ("resnet18_cifar", 96, 96),
    ],
)
def test_the_stem_reduces_images_above_64_pixels(name: str, side: int, first: int) -> None:
    with torch.device("meta"):
        network = models.build(name, num_classes=10, image_shape=(3, side, side))
        output = network(torch.empty(2, 3, side, side))
    assert output.stages[0].shape == (2, 64, first, first)


@pytest.mark.parametrize(("name", "widths"), [("resnet34", (64, 128, 256, 512)), ("resnet50", (256, 512, 1024, 2048))])
def test_the_stages(name: str, widths: tuple[int, ...]) -> None:
    with torch.device("meta"):
        network = models.build(name, num_classes=10, image_shape=(3, 32, 32))
        output = network(torch.empty(2, 3, 32, 32))
    assert [tuple(stage.shape[1:]) for stage in output.stages] == [
        (width, side, side) for width, side in zip(widths, [32, 16, 8, 4], strict=True)
    ]
    assert output.embedding.shape == (2, widths[-1])


def test_a_bottleneck_with_zero_residual_is_its_shortcut() -> None:
    with torch.device("meta"):
        network = models.build("resnet50", num_classes=10, image_shape=(1, 8, 8))
    block = network.stages[0].others[0].to_empty(device="cpu").eval()
    for parameter in block.parameters():
        torch.nn.init.ones_(parameter)
    torch.nn.init.zeros_(block.residual[-1].weight)
    torch.nn.init.zeros_(block.residual[-1].bias)
    for norm in (block.residual[1], block.residual[4], block.residual[7]):
        norm.reset_running_stats()
    maps = torch.rand(2, 256, 4, 4)
    assert torch.equal(block(maps), maps)
