"""Wide residual networks `wrn_D_W`: depth D, W times as wide as a residual network for small images."""

import re
from collections.abc import Iterable
from itertools import pairwise
from typing import final

from torch import Tensor, nn

from kdbench.models.family import Family, ImageShape
from kdbench.models.staged import conv3x3, global_average, kaiming
from kdbench.training.network import Network, Output

EXAMPLES = ("wrn_16_2", "wrn_40_1", "wrn_40_2", "wrn_28_10")


@final
class Block(nn.Module):
    """Batch norm, ReLU and 3x3 convolution, twice, plus a shortcut.

    If the number of channels changes, the shortcut is a 1x1 projection of the activated input.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(inputs)
        self.residual = nn.Sequential(
            conv3x3(inputs, outputs, stride), nn.BatchNorm2d(outputs), nn.ReLU(), conv3x3(outputs, outputs)
        )
        self.projection = (
            None if inputs == outputs else nn.Conv2d(inputs, outputs, kernel_size=1, stride=stride, bias=False)
        )

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sum of residual and shortcut, and the normalized input, for maps (B, C, H, W)."""
        normalized = self.norm(maps)
        active = normalized.relu()
        shortcut = maps if self.projection is None else self.projection(active)
        return shortcut + self.residual(active), normalized


@final
class Blocks(nn.Module):
    """A sequence of blocks; it starts with a batch norm and ends with a sum."""

    def __init__(self, inputs: int, outputs: int, count: int, stride: int) -> None:
        super().__init__()
        first = Block(inputs, outputs, stride)
        self.blocks = nn.ModuleList([first, *(Block(outputs, outputs) for _ in range(count - 1))])

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sum of the last block, and the normalized input of the first one."""
        first, *others = self.blocks
        maps, normalized = first(maps)
        for block in others:
            maps, _ = block(maps)
        return maps, normalized


@final
class WideResNet(Network):
    """A network stem -> stages -> pool -> head, as `StagedNetwork`, but with pre-activation blocks.

    `stages` of its output are the sums of the blocks, and `preacts` the same maps after the batch norm that follows,
    before the ReLU, which is what published code for these networks compares. `pool` starts with the last batch norm.
    """

    def __init__(
        self, image_shape: ImageShape, *, stem: nn.Module, stages: Iterable[Blocks], width: int, num_classes: int
    ) -> None:
        super().__init__(num_classes, image_shape)
        self.stem = stem
        self.stages = nn.ModuleList(stages)
        self.pool = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), *global_average())
        self.head = nn.Linear(width, num_classes)

    def forward(self, images: Tensor) -> Output:
        """Return the `Output` for images (B, C, H, W)."""
        maps, sums, normalized = self.stem(images), [], []
        for stage in self.stages:
            maps, normalized_input = stage(maps)
            sums.append(maps)
            normalized.append(normalized_input)
        last = self.pool[0](maps)
        embedding = self.pool[1:](last)
        return Output(self.head(embedding), tuple(sums), (*normalized[1:], last), embedding)


def nearest_name(name: str) -> str | None:
    """Return the valid name nearest to `name`, or None if it does not match `wrn_D_W`."""
    match = re.fullmatch(r"wrn_(\d+)_(\d+)", name)
    if match is None:
        return None
    depth, width = int(match[1]), int(match[2])
    return f"wrn_{6 * max(1, round((depth - 4) / 6)) + 4}_{max(1, width)}"


def build(name: str, num_classes: int, image_shape: ImageShape) -> WideResNet:
    """Build the network of a valid name for images (C, H, W).

    Initialized as published: Kaiming normal by fan-out, zero bias in the classifier.
    """
    depth, factor = (int(number) for number in name.split("_")[1:])
    widths = (16, 16 * factor, 32 * factor, 64 * factor)
    stages = (
        Blocks(inputs, outputs, (depth - 4) // 6, stride=2 if number else 1)
        for number, (inputs, outputs) in enumerate(pairwise(widths))
    )
    stem = conv3x3(image_shape[0], widths[0])
    network = WideResNet(image_shape, stem=stem, stages=stages, width=widths[-1], num_classes=num_classes)
    nn.init.zeros_(network.head.bias)
    return kaiming(network)


FAMILY = Family(
    pattern="wrn_D_W",
    examples=EXAMPLES,
    rule="the depth D must be 6n + 4 with n at least 1, the width W at least 1",
    description=(
        "Wide residual network for small images: three stages of pre-activation blocks, 16W-32W-64W wide. The feature "
        "maps of a stage are the sums of its last block; before the activation they are normalized."
    ),
    paper="Zagoruyko and Komodakis, BMVC 2016, arXiv:1605.07146",
    nearest_name=nearest_name,
    build=build,
)
