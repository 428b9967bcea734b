"""ShuffleNet for small images: `shufflenetv1`."""

from itertools import pairwise
from typing import final

import torch
from torch import Tensor, nn

from kdbench.models.staged import Stage, StagedNetwork, global_average, kaiming

PATTERN = "shufflenetv1"
EXAMPLES = ("shufflenetv1",)
RULE = "shufflenetv1"
DESCRIPTION = "ShuffleNet with three groups for small images: three stages of 4, 8 and 4 units, 240-480-960 wide"
PAPER = "Zhang et al., CVPR 2018, arXiv:1707.01083; this form: Tian, Krishnan, Isola, ICLR 2020, arXiv:1910.10699"

WIDTHS = (24, 240, 480, 960)
COUNTS = (4, 8, 4)
GROUPS = 3


@final
class Unit(nn.Module):
    """Grouped 1x1, shuffle, 3x3 depthwise, grouped 1x1; added to the input, or with stride put beside its mean."""

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
        """Maps (B, C, H, W), after a ReLU, to maps before one."""
        residual: Tensor = self.residual(maps)
        return maps + residual if self.pool is None else torch.cat([residual, self.pool(maps)], dim=1)


@final
class Units(Stage):
    """Units in a row, each followed by ReLU; the first halves the map."""

    def __init__(self, inputs: int, outputs: int, count: int) -> None:
        super().__init__()
        self.first = Unit(inputs, outputs, stride=2)
        self.others = nn.ModuleList(Unit(outputs, outputs, stride=1) for _ in range(count - 1))

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """The last unit's maps after the ReLU, and before."""
        preact: Tensor = self.first(maps)
        for unit in self.others:
            preact = unit(preact.relu())
        return preact.relu(), preact


def nearest_name(name: str) -> str | None:
    """The name itself, if it is the one of this family."""
    return name if name in EXAMPLES else None


def build(name: str, num_classes: int, image_shape: tuple[int, int, int]) -> StagedNetwork:
    """The network of a valid name."""
    first = nn.Conv2d(image_shape[0], WIDTHS[0], kernel_size=1, bias=False)
    stem = nn.Sequential(first, nn.BatchNorm2d(WIDTHS[0]), nn.ReLU())
    stages = [Units(*widths, count) for widths, count in zip(pairwise(WIDTHS), COUNTS, strict=True)]
    head = nn.Linear(WIDTHS[-1], num_classes)
    return kaiming(StagedNetwork(image_shape, stem=stem, stages=stages, pool=global_average(), head=head))
