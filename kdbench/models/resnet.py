"""Residual networks with four stages (`resnet18` to `resnet152`), as for ImageNet, with a 3x3 stem for small images."""

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import final

from torch import Tensor, nn

from kdbench.models.family import Family, ImageShape
from kdbench.models.resnet_cifar import Block, Blocks, shortcut
from kdbench.models.staged import StagedNetwork, conv3x3, global_average, kaiming

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
EXAMPLES = (*(f"resnet{depth}" for depth in BLOCKS), *(f"resnet{depth}_cifar" for depth in BLOCKS))

WIDTHS = (64, 64, 128, 256, 512)
MAX_SMALL_IMAGE = 64  # images of up to this side get the 3x3 stem


@final
class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolution with batch norm plus a shortcut; returns the sum before its ReLU.

    The 3x3 convolution has the stride, as in torchvision; in the paper it is the first 1x1 convolution.
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
        """Map the output of a ReLU (B, C, H, W) to maps before the next ReLU."""
        total: Tensor = self.residual(maps) + self.shortcut(maps)
        return total


def nearest_name(name: str) -> str | None:
    """Return the name nearest in depth, or None for another pattern or a depth in the range of `resnet_cifar.py`."""
    match = re.fullmatch(r"resnet(\d+)(_cifar)?", name)
    if match is None:
        return None
    depth, suffix = int(match[1]), match[2] or ""
    if not suffix and depth not in BLOCKS and depth <= 110:
        return None
    return f"resnet{min(BLOCKS, key=lambda known: abs(known - depth))}{suffix}"


def build(name: str, num_classes: int, image_shape: ImageShape) -> StagedNetwork:
    """Build the network of a valid name for images (C, H, W), initialized as published (Kaiming normal, fan-out)."""
    depth = int(name.removeprefix("resnet").removesuffix("_cifar"))
    is_small = max(image_shape[1:]) <= MAX_SMALL_IMAGE or name.endswith("_cifar")
    stages = list(_stages(depth))
    head = nn.Linear(WIDTHS[-1] * (1 if depth < 50 else Bottleneck.expansion), num_classes)
    stem = _stem(image_shape[0], is_small)
    return kaiming(StagedNetwork(image_shape, stem=stem, stages=stages, pool=global_average(), head=head))


def _stem(channels: int, is_small: bool) -> nn.Module:
    width = WIDTHS[0]
    if is_small:
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


FAMILY = Family(
    pattern="resnetD, resnetD_cifar",
    examples=EXAMPLES,
    rule=f"D is one of {', '.join(map(str, BLOCKS))}",
    description=(
        "Residual network with four stages, 64-128-256-512 wide (four times as wide from 50 layers on, with bottleneck "
        "blocks). Images of up to 64 pixels get a 3x3 stem; larger ones a 7x7 stem with stride and pooling, except "
        "with `_cifar`."
    ),
    paper=(
        "He et al., CVPR 2016, arXiv:1512.03385; resnet50_cifar: the ResNet50 of Tian et al., ICLR 2020, "
        "arXiv:1910.10699"
    ),
    nearest_name=nearest_name,
    build=build,
)
