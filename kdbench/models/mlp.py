"""Fully connected networks `mlp_A_B...`: one hidden layer with ReLU per width."""

import math
import re
from itertools import pairwise
from typing import final

from torch import Tensor, nn

from kdbench.models.family import Family, ImageShape
from kdbench.models.staged import Stage, StagedNetwork, kaiming

EXAMPLES = ("mlp_32", "mlp_256_128")


@final
class Layer(Stage):
    """Linear layer and ReLU: any input (B, ...) to maps (B, C, 1, 1)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return the layer after and before its ReLU."""
        preact = self.linear(maps.flatten(1))[:, :, None, None]
        return preact.relu(), preact


def nearest_name(name: str) -> str | None:
    """Return the valid name nearest to `name`, or None if it does not start with `mlp_`."""
    if not name.startswith("mlp_"):
        return None
    widths = [width for width in map(int, re.findall(r"\d+", name)) if width]
    return "_".join(["mlp", *map(str, widths)]) if widths else EXAMPLES[0]


def build(name: str, num_classes: int, image_shape: ImageShape) -> StagedNetwork:
    """Build the network of a valid name for images (C, H, W)."""
    widths = [int(width) for width in name.split("_")[1:]]
    layers = (Layer(inputs, outputs) for inputs, outputs in pairwise([math.prod(image_shape), *widths]))
    head = nn.Linear(widths[-1], num_classes)
    return kaiming(StagedNetwork(image_shape, stem=nn.Flatten(), stages=layers, pool=nn.Flatten(), head=head))


FAMILY = Family(
    pattern="mlp_A_B...",
    examples=EXAMPLES,
    rule="hidden widths of at least 1, joined by '_'",
    description=(
        "Fully connected network with ReLU and one hidden layer per width. Each hidden layer is a stage of maps "
        "(C, 1, 1)."
    ),
    paper="Rumelhart et al., Nature 323, 1986; ReLU: Nair and Hinton, ICML 2010",
    nearest_name=nearest_name,
    build=build,
)
