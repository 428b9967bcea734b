"""Wide residual networks `wrn_D_W`: depth D, W times as wide as a residual network for small images."""

import re
from itertools import pairwise
from typing import final

from torch import Tensor, nn

from kdbench.models.family import Family, ImageShape
from kdbench.models.staged import Stage, StagedNetwork, conv3x3, global_average, kaiming

EXAMPLES = ("wrn_16_2", "wrn_40_1", "wrn_40_2", "wrn_28_10")


@final
class Block(nn.Module):
    """Batch norm, ReLU and 3x3 convolution, twice, plus a shortcut.

    If the number of channels changes, the shortcut is a 1x1 projection of the activated input. With `is_activated`,
    the input has passed batch norm and ReLU at the end of the previous stage, so the block omits its first ones.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1, is_activated: bool = False) -> None:
        super().__init__()
        self.activation = nn.Identity() if is_activated else nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU())
        self.residual = nn.Sequential(
            conv3x3(inputs, outputs, stride), nn.BatchNorm2d(outputs), nn.ReLU(), conv3x3(outputs, outputs)
        )
        self.projection = (
            None if inputs == outputs else nn.Conv2d(inputs, outputs, kernel_size=1, stride=stride, bias=False)
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, C, H, W) to maps without a final activation."""
        active = self.activation(maps)
        shortcut = maps if self.projection is None else self.projection(active)
        total: Tensor = shortcut + self.residual(active)
        return total


@final
class Blocks(Stage):
    """A sequence of blocks, then the batch norm and ReLU that the published code has at the start of the next stage."""

    def __init__(self, inputs: int, outputs: int, count: int, *, stride: int, is_activated: bool) -> None:
        super().__init__()
        first = Block(inputs, outputs, stride, is_activated)
        self.blocks = nn.Sequential(first, *(Block(outputs, outputs) for _ in range(count - 1)))
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return the maps after and before the ReLU."""
        preact = self.norm(self.blocks(maps))
        return preact.relu(), preact


def nearest_name(name: str) -> str | None:
    """Return the valid name nearest to `name`, or None if it does not match `wrn_D_W`."""
    match = re.fullmatch(r"wrn_(\d+)_(\d+)", name)
    if match is None:
        return None
    depth, width = int(match[1]), int(match[2])
    return f"wrn_{6 * max(1, round((depth - 4) / 6)) + 4}_{max(1, width)}"


def build(name: str, num_classes: int, image_shape: ImageShape) -> StagedNetwork:
    """Build the network of a valid name for images (C, H, W).

    Initialized as published: Kaiming normal by fan-out, zero bias in the classifier.
    """
    depth, factor = (int(number) for number in name.split("_")[1:])
    widths = (16, 16 * factor, 32 * factor, 64 * factor)
    stages = (
        Blocks(inputs, outputs, (depth - 4) // 6, stride=1 if number == 0 else 2, is_activated=number > 0)
        for number, (inputs, outputs) in enumerate(pairwise(widths))
    )
    head = nn.Linear(widths[-1], num_classes)
    nn.init.zeros_(head.bias)
    stem = conv3x3(image_shape[0], widths[0])
    return kaiming(StagedNetwork(image_shape, stem=stem, stages=stages, pool=global_average(), head=head))


FAMILY = Family(
    pattern="wrn_D_W",
    examples=EXAMPLES,
    rule="the depth D must be 6n + 4 with n at least 1, the width W at least 1",
    description="Wide residual network for small images: three stages of pre-activation blocks, 16W-32W-64W wide.",
    paper="Zagoruyko and Komodakis, BMVC 2016, arXiv:1605.07146",
    nearest_name=nearest_name,
    build=build,
)
