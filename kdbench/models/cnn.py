"""Small plain convolutional networks, `cnn_A_B...` and `cnn_A_B..._fcH`."""

import re
from typing import final

from torch import Tensor, nn

from kdbench.models.staged import Stage, StagedNetwork, conv3x3, kaiming

PATTERN = "cnn_A_B..._fcH"
EXAMPLES = ("cnn_8_16", "cnn_16_32_64", "cnn_32_64_fc128")
RULE = "widths of at least 1, joined by '_', then at most one fully connected layer '_fcH'"
DESCRIPTION = (
    "3x3 convolution, batch norm and ReLU per width, 2x2 max pooling between them while a map is larger than 4x4; "
    "the classifier sees a map of at most 2x2 (4x4 for images of up to 16x16), or a layer of H ReLUs on it"
)
PAPER = "LeCun, Bottou, Bengio, Haffner, 1998; batch norm: Ioffe, Szegedy, 2015, arXiv:1502.03167"

LARGEST = 4  # the side of the largest map that is not pooled any further between convolutions
SMALL = 16  # the side of the largest image of which 2x2 cells would leave the classifier too little


@final
class Convolution(Stage):
    """Max pooling where `pooled`, then 3x3 convolution, batch norm and ReLU."""

    def __init__(self, inputs: int, outputs: int, pooled: bool) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2) if pooled else nn.Identity()
        self.conv = conv3x3(inputs, outputs)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """The maps after the ReLU, and before."""
        preact = self.norm(self.conv(self.pool(maps)))
        return preact.relu(), preact


def nearest_name(name: str) -> str | None:
    """The valid name nearest to `name`; None where `name` is no `cnn_...`."""
    if not name.startswith("cnn_"):
        return None
    widths, hidden = _read(name)
    if not widths:
        return EXAMPLES[0]
    return "_".join(["cnn", *map(str, widths), *([f"fc{hidden}"] if hidden else [])])


def build(name: str, num_classes: int, image_shape: tuple[int, int, int]) -> StagedNetwork:
    """The network of a valid name."""
    widths, hidden = _read(name)
    inputs, height, width = image_shape
    stages: list[Convolution] = []
    for outputs in widths:
        pooled = bool(stages) and min(height, width) > LARGEST
        height, width = (height // 2, width // 2) if pooled else (height, width)
        stages.append(Convolution(inputs, outputs, pooled))
        inputs = outputs
    side = 4 if max(image_shape[1:]) <= SMALL else 2
    # not adaptive pooling, whose gradient is not reproducible on CUDA
    kernel = _ceil(height, side), _ceil(width, side)
    pool = nn.Sequential(nn.AvgPool2d(kernel, ceil_mode=True), nn.Flatten())
    features = inputs * _ceil(height, kernel[0]) * _ceil(width, kernel[1])
    if hidden:
        pool.extend([nn.Linear(features, hidden), nn.ReLU()])
    head = nn.Linear(hidden or features, num_classes)
    return kaiming(StagedNetwork(image_shape, stem=nn.Identity(), stages=stages, pool=pool, head=head))


def _read(name: str) -> tuple[list[int], int]:
    """The widths and the fully connected width (0: none), as far as the name gives them."""
    convolutions, _, hidden = name.partition("_fc")
    widths = [width for width in map(int, re.findall(r"\d+", convolutions)) if width]
    first = re.search(r"\d+", hidden)
    return widths, int(first.group()) if first else 0


def _ceil(size: int, divisor: int) -> int:
    return -(-size // divisor)
