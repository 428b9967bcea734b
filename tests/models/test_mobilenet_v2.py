import torch
from torch import nn

from kdbench import models


def build(side: int) -> nn.Module:
    with torch.device("meta"):
        return models.build("mobilenetv2_half", num_classes=100, image_shape=(3, side, side))


def test_the_published_number_of_parameters_at_100_classes() -> None:
    assert sum(p.numel() for p in build(32).parameters()) == 812_836


def test_the_stages() -> None:
    output = build(32)(torch.empty(2, 3, 32, 32, device="meta"))
    assert [tuple(stage.shape[1:]) for stage in output.stages] == [(12, 16, 16), (16, 8, 8), (48, 4, 4), (160, 2, 2)]
    assert output.embedding.shape == (2, 1280)


def test_the_stages_end_without_an_activation() -> None:
    output = models.build("mobilenetv2_half", num_classes=10, image_shape=(1, 16, 16)).eval()(torch.randn(2, 1, 16, 16))
    assert all(stage is preact for stage, preact in zip(output.stages, output.preacts, strict=True))
    assert all(stage.min() < 0 for stage in output.stages)


def test_a_block_has_a_shortcut_if_its_shape_stays_the_same() -> None:
    network = models.build("mobilenetv2_half", num_classes=10, image_shape=(1, 16, 16)).eval()
    first, second = network.stages[1].blocks[0], network.stages[1].blocks[1]
    assert not first.has_shortcut
    nn.init.zeros_(second.residual[-1].weight)
    maps = torch.randn(2, 16, 4, 4)
    assert torch.equal(second(maps), maps)
