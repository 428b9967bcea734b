"""Residual networks of four stages, `resnet18` and its kin: the ImageNet ones, with a small stem for small images."""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import final

from torch import Tensor, nn

from kdbench.models.resnet_cifar import Block, Blocks, shortcut
from kdbench.models.staged import StagedNetwork, conv3x3, global_average, kaiming

PATTERN = "resnetD, resnetD_cifar"
BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
EXAMPLES = (*(f"resnet{depth}" for depth in BLOCKS), *(f"resnet{depth}_cifar" for depth in BLOCKS))
RULE = f"D is one of {', '.join(map(str, BLOCKS))}"
DESCRIPTION = (
    "residual network with four stages, 64-128-256-512 wide (from 50 layers on four times as wide, in bottlenecks); a "
    "3x3 stem for images of up to 64 pixels, else (never with _cifar) a 7x7 stem with stride and pooling"
)
PAPER = (
    "He, Zhang, Ren, Sun, CVPR 2016, arXiv:1512.03385; resnet50_cifar is the ResNet50 of Tian, Krishnan, Isola, ICLR "
    "2020, arXiv:1910.10699"
)

WIDTHS = (64, 64, 128, 256, 512)
SMALL = 64  # the side of the largest image that gets the small stem


@final
class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolution with batch norm beside a shortcut; the sum is returned before its ReLU.

    The stride is that of the 3x3 convolution, as in the usual implementations; in the paper it is the first 1x1's.
    """

    expansion = 4

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        width = outputs // self.expansion
        self.residual = nn.Sequential(
            nn.Conv2d(inputs, width, kernel_size=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            conv3x3(width, width, stride),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, outputs, kernel_size=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = shortcut(inputs, outputs, stride)

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, C, H, W), after a ReLU, to maps before one."""
        total: Tensor = self.residual(maps) + self.shortcut(maps)
        return total


def nearest_name(name: str) -> str | None:
    """The valid name nearest to `name` in depth; None for another form, and for a depth of the CIFAR family's range."""
    match = re.fullmatch(r"resnet(\d+)(_cifar)?", name)
    if match is None:
        return None
    depth, suffix = int(match[1]), match[2] or ""
    if not suffix and depth not in BLOCKS and depth <= 110:
        return None
    return f"resnet{min(BLOCKS, key=lambda known: abs(known - depth))}{suffix}"


def build(name: str, num_classes: int, image_shape: tuple[int, int, int]) -> StagedNetwork:
    """The network of a valid name, initialized as published: Kaiming normal by fan-out."""
    depth = int(name.removeprefix("resnet").removesuffix("_cifar"))
    small = max(image_shape[1:]) <= SMALL or name.endswith("_cifar")
    stages = list(_stages(depth))
    head = nn.Linear(WIDTHS[-1] * (1 if depth < 50 else Bottleneck.expansion), num_classes)
    stem = _stem(image_shape[0], small)
    return kaiming(StagedNetwork(image_shape, stem=stem, stages=stages, pool=global_average(), head=head))


def _stem(channels: int, small: bool) -> nn.Module:
    width = WIDTHS[0]
    if small:
        return nn.Sequential(conv3x3(channels, width), nn.BatchNorm2d(width), nn.ReLU())
    convolution = nn.Conv2d(channels, width, kernel_size=7, stride=2, padding=3, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1))


def _stages(depth: int) -> Iterator[Blocks]:
    block, expansion = (Block, 1) if depth < 50 else (Bottleneck, Bottleneck.expansion)
    widths = (WIDTHS[0], *(width * expansion for width in WIDTHS[1:]))
    for number, (inputs, outputs) in enumerate(pairwise(widths)):
        first = block(inputs, outputs, stride=1 if number == 0 else 2)
        others = [block(outputs, outputs, stride=1) for _ in range(BLOCKS[depth][number] - 1)]
        yield Blocks(first, others)
