"""Small plain convolutional networks `cnn_A_B...` and `cnn_A_B..._fcH`."""

import re
from typing import final

from torch import Tensor, nn

from kdbench.models.family import Family, ImageShape
from kdbench.models.staged import Stage, StagedNetwork, conv3x3, kaiming

EXAMPLES = ("cnn_8_16", "cnn_16_32_64", "cnn_32_64_fc128")

MIN_POOLED_SIDE = 5  # smaller maps are not pooled between convolutions
MAX_SMALL_IMAGE = 16  # up to this side the classifier sees a 4x4 map, since 2x2 would discard too much


@final
class Convolution(Stage):
    """Max pooling if `has_pooling`, then 3x3 convolution, batch norm and ReLU."""

    def __init__(self, inputs: int, outputs: int, has_pooling: bool) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2) if has_pooling else nn.Identity()
        self.conv = conv3x3(inputs, outputs)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return the maps after and before the ReLU."""
        preact = self.norm(self.conv(self.pool(maps)))
        return preact.relu(), preact


def nearest_name(name: str) -> str | None:
    """Return the valid name nearest to `name`, or None if it does not start with `cnn_`."""
    if not name.startswith("cnn_"):
        return None
    widths, hidden = _parse(name)
    if not widths:
        return EXAMPLES[0]
    return "_".join(["cnn", *map(str, widths), *([f"fc{hidden}"] if hidden else [])])


def build(name: str, num_classes: int, image_shape: ImageShape) -> StagedNetwork:
    """Build the network of a valid name for images (C, H, W)."""
    widths, hidden = _parse(name)
    inputs, height, width = image_shape
    stages: list[Convolution] = []
    for outputs in widths:
        has_pooling = bool(stages) and min(height, width) >= MIN_POOLED_SIDE
        height, width = (height // 2, width // 2) if has_pooling else (height, width)
        stages.append(Convolution(inputs, outputs, has_pooling))
        inputs = outputs
    side = 4 if max(image_shape[1:]) <= MAX_SMALL_IMAGE else 2
    # not adaptive pooling: its gradient is not deterministic on CUDA
    kernel = _ceil(height, side), _ceil(width, side)
    pool = nn.Sequential(nn.AvgPool2d(kernel, ceil_mode=True), nn.Flatten())
    features = inputs * _ceil(height, kernel[0]) * _ceil(width, kernel[1])
    if hidden:
        pool.extend([nn.Linear(features, hidden), nn.ReLU()])
    head = nn.Linear(hidden or features, num_classes)
    return kaiming(StagedNetwork(image_shape, stem=nn.Identity(), stages=stages, pool=pool, head=head))


def _parse(name: str) -> tuple[list[int], int]:
    """Return the widths and the fully connected width (0 if there is none), as far as the name states them."""
    convolutions, _, hidden = name.partition("_fc")
    widths = [width for width in map(int, re.findall(r"\d+", convolutions)) if width]
    first = re.search(r"\d+", hidden)
    return widths, int(first.group()) if first else 0


def _ceil(size: int, divisor: int) -> int:
    return -(-size // divisor)


FAMILY = Family(
    pattern="cnn_A_B..._fcH",
    examples=EXAMPLES,
    rule="widths of at least 1, joined by '_', then at most one fully connected layer '_fcH'",
    description=(
        "Plain convolutional network: 3x3 convolution, batch norm and ReLU per width, with 2x2 max pooling in between "
        "while the map is larger than 4x4. The classifier sees a map of at most 2x2 (4x4 for images of up to 16x16), "
        "or with `_fcH` a hidden layer of H ReLUs on that map."
    ),
    paper=(
        "LeCun et al., Proceedings of the IEEE 86(11), 1998; batch norm: Ioffe and Szegedy, ICML 2015, arXiv:1502.03167"
    ),
    nearest_name=nearest_name,
    build=build,
)
