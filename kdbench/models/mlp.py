"""Fully connected networks, `mlp_A_B...`: a hidden layer of ReLUs per width."""

import math
import re
from itertools import pairwise
from typing import final

from torch import Tensor, nn

from kdbench.models.staged import Stage, StagedNetwork, kaiming

PATTERN = "mlp_A_B..."
EXAMPLES = ("mlp_32", "mlp_256_128")
RULE = "hidden widths of at least 1, joined by '_'"
DESCRIPTION = "fully connected network with ReLU; a hidden layer per width, each a stage of maps (C, 1, 1)"
PAPER = "Rumelhart, Hinton, Williams, Nature 1986; ReLU: Nair, Hinton, ICML 2010"


@final
class Layer(Stage):
    """Linear and ReLU; anything (B, ...) in, (B, C, 1, 1) out."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """The layer after its ReLU, and before."""
        preact = self.linear(maps.flatten(1))[:, :, None, None]
        return preact.relu(), preact


def nearest_name(name: str) -> str | None:
    """The valid name nearest to `name`; None where `name` is no `mlp_...`."""
    if not name.startswith("mlp_"):
        return None
    widths = [width for width in map(int, re.findall(r"\d+", name)) if width]
    return "_".join(["mlp", *map(str, widths)]) if widths else EXAMPLES[0]


def build(name: str, num_classes: int, image_shape: tuple[int, int, int]) -> StagedNetwork:
    """The network of a valid name."""
    widths = [int(width) for width in name.split("_")[1:]]
    layers = (Layer(inputs, outputs) for inputs, outputs in pairwise([math.prod(image_shape), *widths]))
    head = nn.Linear(widths[-1], num_classes)
    return kaiming(StagedNetwork(image_shape, stem=nn.Flatten(), stages=layers, pool=nn.Flatten(), head=head))
