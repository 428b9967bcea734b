"""ShuffleNetV2 for small images: `shufflenetv2`."""

from itertools import pairwise
from typing import final

import torch
from torch import Tensor, nn

from kdbench.models.family import Family, ImageShape
from kdbench.models.staged import Stage, StagedNetwork, global_average, kaiming

EXAMPLES = ("shufflenetv2",)

WIDTHS = (24, 116, 232, 464)
COUNTS = (4, 8, 4)
LAST = 1024


@final
class DownsamplingUnit(Stage):
    """A unit that halves the map: two branches take all channels, and each returns half of the new ones."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        self.left = nn.Sequential(*_depthwise(inputs, stride=2), *_pointwise(inputs, half))
        self.right = nn.Sequential(
            *_pointwise(inputs, half), nn.ReLU(), *_depthwise(half, stride=2), *_pointwise(half, half)
        )
        self.shuffle = nn.ChannelShuffle(2)

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return the maps after and before the ReLU."""
        preact: Tensor = self.shuffle(torch.cat([self.left(maps), self.right(maps)], dim=1))
        return preact.relu(), preact


@final
class Unit(Stage):
    """A unit that changes the second half of the channels, then shuffles; its input is the output of a ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.residual = nn.Sequential(
            *_pointwise(half, half), nn.ReLU(), *_depthwise(half, stride=1), *_pointwise(half, half)
        )
        self.shuffle = nn.ChannelShuffle(2)

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return the maps after and before the ReLU."""
        kept, changed = maps.chunk(2, dim=1)
        preact: Tensor = self.shuffle(torch.cat([kept, self.residual(changed)], dim=1))
        return preact.relu(), preact


@final
class Units(Stage):
    """A unit that halves the map, then a sequence of units."""

    def __init__(self, inputs: int, outputs: int, count: int) -> None:
        super().__init__()
        self.first = DownsamplingUnit(inputs, outputs)
        self.others = nn.ModuleList(Unit(outputs) for _ in range(count - 1))

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return the last unit's maps after and before the ReLU."""
        maps, preact = self.first(maps)
        for unit in self.others:
            maps, preact = unit(maps)
        return maps, preact


def nearest_name(name: str) -> str | None:
    """Return `name` if it is the only name of this family, else None."""
    return name if name in EXAMPLES else None


def build(name: str, num_classes: int, image_shape: ImageShape) -> StagedNetwork:
    """Build the network of a valid name for images (C, H, W)."""
    stem = nn.Sequential(*_pointwise(image_shape[0], WIDTHS[0]), nn.ReLU())
    stages = [Units(*widths, count) for widths, count in zip(pairwise(WIDTHS), COUNTS, strict=True)]
    pool = nn.Sequential(*_pointwise(WIDTHS[-1], LAST), nn.ReLU(), *global_average().children())
    head = nn.Linear(LAST, num_classes)
    return kaiming(StagedNetwork(image_shape, stem=stem, stages=stages, pool=pool, head=head))


def _pointwise(inputs: int, outputs: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(inputs, outputs, kernel_size=1, bias=False), nn.BatchNorm2d(outputs)


def _depthwise(channels: int, stride: int) -> tuple[nn.Module, nn.Module]:
    convolution = nn.Conv2d(channels, channels, 3, stride=stride, padding=1, groups=channels, bias=False)
    return convolution, nn.BatchNorm2d(channels)


FAMILY = Family(
    pattern="shufflenetv2",
    examples=EXAMPLES,
    rule="the only name is shufflenetv2",
    description=(
        "ShuffleNetV2 at width 1 for small images: three stages of 4, 8 and 4 units, 116-232-464 wide, a 1x1 "
        "convolution to 1024 channels, and global average pooling."
    ),
    paper="Ma et al., ECCV 2018, arXiv:1807.11164; this variant: Tian et al., ICLR 2020, arXiv:1910.10699",
    nearest_name=nearest_name,
    build=build,
)
