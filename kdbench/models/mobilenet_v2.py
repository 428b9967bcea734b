"""MobileNetV2 for small images at half width: `mobilenetv2_half`."""

from typing import final

from torch import Tensor, nn

from kdbench.models.family import Family, ImageShape
from kdbench.models.staged import Stage, StagedNetwork, conv3x3, global_average, kaiming

EXAMPLES = ("mobilenetv2_half",)

# by stage, groups of blocks: expansion, width, number of blocks, stride of the first block
STAGES = (
    ((1, 8, 1, 1), (6, 12, 2, 1)),
    ((6, 16, 3, 2),),
    ((6, 32, 4, 2), (6, 48, 3, 1)),
    ((6, 80, 3, 2), (6, 160, 1, 1)),
)
FIRST, LAST = 16, 1280  # widths of the first and the last convolution


@final
class InvertedResidual(nn.Module):
    """1x1 expansion, 3x3 depthwise and linear 1x1 convolution, plus a shortcut if the shape stays the same."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        width = inputs * expansion
        self.residual = nn.Sequential(
            nn.Conv2d(inputs, width, kernel_size=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, kernel_size=3, stride=stride, padding=1, groups=width, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, outputs, kernel_size=1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.has_shortcut = stride == 1 and inputs == outputs

    def forward(self, maps: Tensor) -> Tensor:
        """Map (B, C, H, W) to maps without a final activation."""
        residual: Tensor = self.residual(maps)
        return maps + residual if self.has_shortcut else residual


@final
class Blocks(Stage):
    """A sequence of inverted residuals."""

    def __init__(self, inputs: int, rows: tuple[tuple[int, int, int, int], ...]) -> None:
        super().__init__()
        blocks: list[nn.Module] = []
        for expansion, outputs, count, stride in rows:
            for number in range(count):
                blocks.append(InvertedResidual(inputs, outputs, expansion, stride if number == 0 else 1))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return the maps of the last block twice, since a linear bottleneck has no activation."""
        linear: Tensor = self.blocks(maps)
        return linear, linear


def nearest_name(name: str) -> str | None:
    """Return `name` if it is the only name of this family, else None."""
    return name if name in EXAMPLES else None


def build(name: str, num_classes: int, image_shape: ImageShape) -> StagedNetwork:
    """Build the network of a valid name for images (C, H, W)."""
    stem = nn.Sequential(conv3x3(image_shape[0], FIRST, stride=2), nn.BatchNorm2d(FIRST), nn.ReLU())
    ends = [rows[-1][1] for rows in STAGES]
    stages = [Blocks(inputs, rows) for inputs, rows in zip([FIRST, *ends[:-1]], STAGES, strict=True)]
    last = nn.Conv2d(ends[-1], LAST, kernel_size=1, bias=False)
    pool = nn.Sequential(last, nn.BatchNorm2d(LAST), nn.ReLU(), *global_average().children())
    return kaiming(StagedNetwork(image_shape, stem=stem, stages=stages, pool=pool, head=nn.Linear(LAST, num_classes)))


FAMILY = Family(
    pattern="mobilenetv2_half",
    examples=EXAMPLES,
    rule="the only name is mobilenetv2_half",
    description=(
        "MobileNetV2 at width 0.5 for small images: four stages of inverted residuals, 12-16-48-160 wide, a 1x1 "
        "convolution to 1280 channels, and global average pooling. The stages end without an activation."
    ),
    paper="Sandler et al., CVPR 2018, arXiv:1801.04381; this variant: Tian et al., ICLR 2020, arXiv:1910.10699",
    nearest_name=nearest_name,
    build=build,
)
