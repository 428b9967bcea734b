"""Residual networks with three stages for small images (`resnet8` to `resnet110`); `x4` are four times as wide."""

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import final

from torch import Tensor, nn

from kdbench.models.family import Family, ImageShape
from kdbench.models.staged import Stage, StagedNetwork, conv3x3, global_average, kaiming

EXAMPLES = (
    *("resnet8", "resnet14", "resnet20", "resnet32", "resnet44", "resnet56", "resnet110"),
    *("resnet8x4", "resnet32x4"),
)

WIDTHS = (16, 16, 32, 64)
WIDTHS_X4 = (32, 64, 128, 256)


@final
class Block(nn.Module):
    """Two 3x3 convolutions with batch norm plus a shortcut; returns the sum before its ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            conv3x3(inputs, outputs, stride),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            conv3x3(outputs, outputs),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = shortcut(inputs, outputs, stride)

    def forward(self, maps: Tensor) -> Tensor:
        """Map the output of a ReLU (B, C, H, W) to maps before the next ReLU."""
        total: Tensor = self.residual(maps) + self.shortcut(maps)
        return total


@final
class Blocks(Stage):
    """A sequence of blocks, each followed by ReLU; the first one changes the shape."""

    def __init__(self, first: nn.Module, others: Iterable[nn.Module]) -> None:
        super().__init__()
        self.first = first
        self.others = nn.ModuleList(others)

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return the maps of the last block after and before its ReLU."""
        preact: Tensor = self.first(maps)
        for block in self.others:
            preact = block(preact.relu())
        return preact.relu(), preact


def shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    """Return the identity, or if the shape changes a 1x1 projection with batch norm (option B of the paper)."""
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    projection = nn.Conv2d(inputs, outputs, kernel_size=1, stride=stride, bias=False)
    return nn.Sequential(projection, nn.BatchNorm2d(outputs))


def nearest_name(name: str) -> str | None:
    """Return the valid name of the same width nearest in depth, or None for another pattern."""
    match = re.fullmatch(r"resnet(\d+)(x4)?", name)
    if match is None:
        return None
    siblings = [example for example in EXAMPLES if example.endswith("x4") == (match[2] is not None)]
    return min(siblings, key=lambda example: abs(_depth(example) - _depth(name)))


def build(name: str, num_classes: int, image_shape: ImageShape) -> StagedNetwork:
    """Build the network of a valid name for images (C, H, W), initialized as published (Kaiming normal, fan-out)."""
    widths = WIDTHS_X4 if name.endswith("x4") else WIDTHS
    stem = nn.Sequential(conv3x3(image_shape[0], widths[0]), nn.BatchNorm2d(widths[0]), nn.ReLU())
    stages = _stages(widths, count=(_depth(name) - 2) // 6)
    head = nn.Linear(widths[-1], num_classes)
    return kaiming(StagedNetwork(image_shape, stem=stem, stages=stages, pool=global_average(), head=head))


def _stages(widths: tuple[int, ...], count: int) -> Iterator[Blocks]:
    for number, (inputs, outputs) in enumerate(pairwise(widths)):
        first = Block(inputs, outputs, stride=1 if number == 0 else 2)
        yield Blocks(first, [Block(outputs, outputs, stride=1) for _ in range(count - 1)])


def _depth(name: str) -> int:
    return int(name.removeprefix("resnet").removesuffix("x4"))


FAMILY = Family(
    pattern="resnetD",
    examples=EXAMPLES,
    rule=f"one of {', '.join(EXAMPLES)}",
    description="Residual network for small images: three stages of basic blocks, 16-32-64 wide (x4: 64-128-256).",
    paper="He et al., CVPR 2016, arXiv:1512.03385; x4: Tian et al., ICLR 2020, arXiv:1910.10699",
    nearest_name=nearest_name,
    build=build,
)
