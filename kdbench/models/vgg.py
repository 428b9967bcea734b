"""VGG networks for small images, `vgg8` to `vgg19`: with batch norm, and one linear layer on the mean of the maps."""

import re
from typing import final

from torch import Tensor, nn

from kdbench.models.staged import Stage, StagedNetwork, global_average, kaiming

PATTERN = "vggD"
WIDTHS = (64, 128, 256, 512, 512)
COUNTS = {8: (1, 1, 1, 1, 1), 11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
EXAMPLES = tuple(f"vgg{depth}" for depth in COUNTS)
RULE = f"one of {', '.join(EXAMPLES)}"
DESCRIPTION = (
    "VGG with batch norm and global average pooling: five stages of 3x3 convolutions, 64-128-256-512-512 wide, 2x2 max "
    "pooling between them, between the last two only for images of 64 pixels and more"
)
PAPER = "Simonyan, Zisserman, ICLR 2015, arXiv:1409.1556; vgg8, stages: Tian, Krishnan, Isola, 2020, arXiv:1910.10699"

LARGE = 64  # the side of the smallest image that is pooled before the last stage too


@final
class Convolutions(Stage):
    """Max pooling where `pooled`, then `count` 3x3 convolutions, each with batch norm and ReLU."""

    def __init__(self, inputs: int, outputs: int, count: int, pooled: bool) -> None:
        super().__init__()
        # rounding up leaves a map of 1x1 as it is
        self.pool = nn.MaxPool2d(2, ceil_mode=True) if pooled else nn.Identity()
        layers: list[nn.Module] = []
        for width in (inputs, *[outputs] * (count - 1)):
            layers += [nn.Conv2d(width, outputs, kernel_size=3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """The last convolution's maps after the ReLU, and before."""
        preact: Tensor = self.layers(self.pool(maps))
        return preact.relu(), preact


def nearest_name(name: str) -> str | None:
    """The valid name nearest to `name` in depth; None for another form of name."""
    match = re.fullmatch(r"vgg(\d+)", name)
    return f"vgg{min(COUNTS, key=lambda known: abs(known - int(match[1])))}" if match else None


def build(name: str, num_classes: int, image_shape: tuple[int, int, int]) -> StagedNetwork:
    """The network of a valid name; convolutions have biases, which start at zero."""
    inputs, height, width = image_shape
    stages: list[Convolutions] = []
    for number, (outputs, count) in enumerate(zip(WIDTHS, COUNTS[int(name.removeprefix("vgg"))], strict=True)):
        pooled = 0 < number < 4 or (number == 4 and max(height, width) >= LARGE)
        stages.append(Convolutions(inputs, outputs, count, pooled))
        inputs = outputs
    head = nn.Linear(inputs, num_classes)
    network = kaiming(StagedNetwork(image_shape, stem=nn.Identity(), stages=stages, pool=global_average(), head=head))
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.bias is not None and not module.bias.is_meta:
            nn.init.zeros_(module.bias)
    return network
