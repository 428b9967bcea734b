"""Networks in parts (`stem`, `stages`, `pool`, `head`), so that a method can split and recombine them."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TypeVar, final

import torch
from torch import Tensor, nn

from kdbench.training.network import Network, Output


class Stage(nn.Module, ABC):
    """One stage of a network: maps (B, C, H, W) to maps after and before the last activation."""

    @abstractmethod
    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Return the maps of the stage after and before the activation."""


@final
class StagedNetwork(Network):
    """A network stem -> stages -> pool -> dropout -> head.

    `stem` maps images (B, C, H, W) to the input of the first stage, `pool` the maps of the last stage to the embedding
    (B, D), and `head` the embedding to logits (B, K). `dropout` is the probability that an element of the head's input
    is zero in training; the embedding that methods read has no dropout.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        *,
        stem: nn.Module,
        stages: Iterable[Stage],
        pool: nn.Module,
        head: nn.Linear,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(head.out_features, image_shape)
        self.stem = stem
        self.stages = nn.ModuleList(stages)
        self.pool = pool
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        self.head = head

    def forward(self, images: Tensor) -> Output:
        """Return the `Output` for images (B, C, H, W)."""
        maps, posts, preacts = self.stem(images), [], []
        for stage in self.stages:
            maps, preact = stage(maps)
            posts.append(maps)
            preacts.append(preact)
        embedding = self.pool(maps)
        return Output(self.head(self.dropout(embedding)), tuple(posts), tuple(preacts), embedding)


def global_average() -> nn.Sequential:
    """Return a module that averages maps (B, C, H, W) to (B, C)."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())


def conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    """Return a 3x3 convolution without bias; it divides the size of the map by `stride`, rounding up."""
    return nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=False)


N = TypeVar("N", bound=Network)


@torch.no_grad()
def kaiming(network: N) -> N:
    """Initialize all layers but `network.head` as in He et al., ICCV 2015, arXiv:1502.01852, and return the network.

    Convolutions are Kaiming normal by fan-out, hidden linear layers by fan-in with zero bias. The head keeps torch's
    default.
    """
    for module in network.modules():
        if any(parameter.is_meta for parameter in module.parameters(recurse=False)):
            continue  # nothing to fill in a dry run; torch would load its compiler to do so
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear) and module is not network.head:
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)
    return network
