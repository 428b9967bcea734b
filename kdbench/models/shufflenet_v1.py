"""ShuffleNet for small images: `shufflenetv1`."""

from itertools import pairwise
from typing import final

import torch
from torch import Tensor, nn

from kdbench.models.family import Family, ImageShape
from kdbench.models.staged import Stage, StagedNetwork, global_average, kaiming

EXAMPLES = ("shufflenetv1",)

WIDTHS = (24, 240, 480, 960)
COUNTS = (4, 8, 4)
GROUPS = 3


@final
class Unit(nn.Module):
    """Grouped 1x1, channel shuffle, 3x3 depthwise and grouped 1x1 convolution.

    The result is added to the input or, with stride 2, concatenated with the average-pooled input.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        outputs -= inputs if stride == 2 else 0
        width, groups = outputs // 4, 1 if inputs == WIDTHS[0] else GROUPS
        self.residual = nn.Sequential(
            nn.Conv2d(inputs, width, kernel_size=1, groups=groups, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.ChannelShuffle(groups),
            nn.Conv2d(width, width, kernel_size=3, stride=stride, padding=1, groups=width, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, outputs, kernel_size=1, groups=GROUPS, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.pool = nn.AvgPool2d(3, stride=2, padding=1) if stride == 2 else None

    def forward(self, maps: Tensor) -> Tensor:
        """Map the output of a ReLU (B, C, H, W) to maps before the next ReLU."""
        residual: Tensor = self.residual(maps)
        return maps + residual if self.pool is None else torch.cat([residual, self.pool(maps)], dim=1)


@final
class Units(Stage):
    """A sequence of units, each followed by ReLU; the first one halves the map."""

    def __init__(self, inputs: int, outputs: int, count: int) -> None:
        super().__init__()
        self.first = Unit(inputs, outputs, stride=2)
        self.others = nn.ModuleList(Unit(outputs, outputs, stride=1) for _ in range(count - 1))

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return the maps of the last unit after and before its ReLU."""
        preact: Tensor = self.first(maps)
        for unit in self.others:
            preact = unit(preact.relu())
        return preact.relu(), preact


def nearest_name(name: str) -> str | None:
    """Return `name` if it is the only name of this family, else None."""
    return name if name in EXAMPLES else None


def build(name: str, num_classes: int, image_shape: ImageShape) -> StagedNetwork:
    """Build the network of a valid name for images (C, H, W)."""
    first = nn.Conv2d(image_shape[0], WIDTHS[0], kernel_size=1, bias=False)
    stem = nn.Sequential(first, nn.BatchNorm2d(WIDTHS[0]), nn.ReLU())
    stages = [Units(*widths, count) for widths, count in zip(pairwise(WIDTHS), COUNTS, strict=True)]
    head = nn.Linear(WIDTHS[-1], num_classes)
    return kaiming(StagedNetwork(image_shape, stem=stem, stages=stages, pool=global_average(), head=head))


FAMILY = Family(
    pattern="shufflenetv1",
    examples=EXAMPLES,
    rule="the only name is shufflenetv1",
    description="ShuffleNet with three groups for small images: three stages of 4, 8 and 4 units, 240-480-960 wide.",
    paper="Zhang et al., CVPR 2018, arXiv:1707.01083; this variant: Tian et al., ICLR 2020, arXiv:1910.10699",
    nearest_name=nearest_name,
    build=build,
)
