"""Networks in three parts, `stem`, `stages` and `head`, so that a method can cut them and join them anew."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import final

import torch
from torch import Tensor, nn

from kdbench.training.network import Network, Output


class Stage(nn.Module, ABC):
    """One stage: maps (B, C, H, W) in; maps after and before the last activation out."""

    @abstractmethod
    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """The stage's maps after the activation, and the same before it."""


@final
class StagedNetwork(Network):
    """stem -> stages -> pool -> head, as every network of this folder is built.

    `stem` makes the first stage's input from images (B, C, H, W); each of `stages` is a `Stage`; `pool` makes the
    embedding (B, D) from the last stage's maps; `head` makes logits (B, K) from the embedding.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        *,
        stem: nn.Module,
        stages: Iterable[Stage],
        pool: nn.Module,
        head: nn.Linear,
    ) -> None:
        super().__init__(head.out_features, image_shape)
        self.stem = stem
        self.stages = nn.ModuleList(stages)
        self.pool = pool
        self.head = head

    def forward(self, images: Tensor) -> Output:
        """Images (B, C, H, W) to `Output`."""
        maps, posts, preacts = self.stem(images), [], []
        for stage in self.stages:
            maps, preact = stage(maps)
            posts.append(maps)
            preacts.append(preact)
        embedding = self.pool(maps)
        return Output(self.head(embedding), tuple(posts), tuple(preacts), embedding)


def global_average() -> nn.Module:
    """Maps (B, C, H, W) to their means (B, C)."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())


def conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    """A 3x3 convolution without bias that keeps the size of the map, divided by `stride` and rounded up."""
    return nn.Conv2d(inputs, outputs, kernel_size=3, stride=stride, padding=1, bias=False)


@torch.no_grad()
def kaiming(network: StagedNetwork) -> StagedNetwork:
    """Kaiming initialization (arXiv:1502.01852) of all but the head, which keeps torch's own.

    Convolutions are normal by their fan-out, hidden linear layers by their fan-in with a bias of zero.
    """
    for module in network.modules():
        if any(parameter.is_meta for parameter in module.parameters(recurse=False)):
            continue  # a dry run has nothing to fill, and torch would load its compiler to do so
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear) and module is not network.head:
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)
    return network
