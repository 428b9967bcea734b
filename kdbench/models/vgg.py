"""VGG networks for small images (`vgg8` to `vgg19`), with batch norm and one linear layer after average pooling."""

import re
from typing import final

from torch import Tensor, nn

from kdbench.models.family import Family, ImageShape
from kdbench.models.staged import Stage, StagedNetwork, global_average, kaiming

WIDTHS = (64, 128, 256, 512, 512)
COUNTS = {8: (1, 1, 1, 1, 1), 11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
EXAMPLES = tuple(f"vgg{depth}" for depth in COUNTS)

MIN_LARGE_IMAGE = 64  # images of at least this side are also pooled before the last stage


@final
class Convolutions(Stage):
    """Max pooling if `has_pooling`, then `count` 3x3 convolutions, each with batch norm and ReLU."""

    def __init__(self, inputs: int, outputs: int, count: int, has_pooling: bool) -> None:
        super().__init__()
        # ceil_mode keeps a 1x1 map
        self.pool = nn.MaxPool2d(2, ceil_mode=True) if has_pooling else nn.Identity()
        layers: list[nn.Module] = []
        for width in (inputs, *[outputs] * (count - 1)):
            layers += [nn.Conv2d(width, outputs, kernel_size=3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return the maps of the last convolution after and before the ReLU."""
        preact: Tensor = self.layers(self.pool(maps))
        return preact.relu(), preact


def nearest_name(name: str) -> str | None:
    """Return the valid name nearest in depth, or None for another pattern."""
    match = re.fullmatch(r"vgg(\d+)", name)
    return f"vgg{min(COUNTS, key=lambda known: abs(known - int(match[1])))}" if match else None


def build(name: str, num_classes: int, image_shape: ImageShape) -> StagedNetwork:
    """Build the network of a valid name for images (C, H, W); the biases of the convolutions start at zero."""
    inputs, height, width = image_shape
    stages: list[Convolutions] = []
    for number, (outputs, count) in enumerate(zip(WIDTHS, COUNTS[int(name.removeprefix("vgg"))], strict=True)):
        has_pooling = 0 < number < 4 or (number == 4 and max(height, width) >= MIN_LARGE_IMAGE)
        stages.append(Convolutions(inputs, outputs, count, has_pooling))
        inputs = outputs
    head = nn.Linear(inputs, num_classes)
    network = kaiming(StagedNetwork(image_shape, stem=nn.Identity(), stages=stages, pool=global_average(), head=head))
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.bias is not None and not module.bias.is_meta:
            nn.init.zeros_(module.bias)
    return network


FAMILY = Family(
    pattern="vggD",
    examples=EXAMPLES,
    rule=f"one of {', '.join(EXAMPLES)}",
    description=(
        "VGG with batch norm and global average pooling: five stages of 3x3 convolutions, 64-128-256-512-512 wide, "
        "with 2x2 max pooling in between (before the last stage only for images of 64 pixels or more)."
    ),
    paper=(
        "Simonyan and Zisserman, ICLR 2015, arXiv:1409.1556; vgg8 and the stages: Tian et al., ICLR 2020, "
        "arXiv:1910.10699"
    ),
    nearest_name=nearest_name,
    build=build,
)
