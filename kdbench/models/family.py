"""A family of networks; each module of this package defines one as `FAMILY`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

from torch import nn

ImageShape = tuple[int, int, int]  # channels, height, width


@final
@dataclass(frozen=True, kw_only=True)
class PretrainedWeights:
    """The default weights that a library provides for its architectures.

    Attributes:
        identify: from a valid name to the identity of its weights (such as their address) and their number of
            classes. Raises `NetworkError` if there are none.
        build: from a valid name, a number of classes and an image shape to the network with these weights.
        check: raises `NetworkError` if the weights of a name do not fit images (C, H, W); None if they fit all.
    """

    identify: Callable[[str], tuple[str, int]]
    build: Callable[[str, int, ImageShape], nn.Module]
    check: Callable[[str, ImageShape], None] | None = None


@final
@dataclass(frozen=True, kw_only=True)
class Family:
    """Networks that are built by the same function and named by the same pattern.

    Attributes:
        pattern: the pattern of the names, such as "wrn_D_W".
        examples: valid names.
        rule: what makes a name of this pattern valid.
        description: what the networks are.
        paper: authors, venue, year, arXiv id.
        nearest_name: from any name to the nearest valid one, or None if the name does not follow the pattern.
        build: from a valid name, a number of classes and an image shape to a new network with random weights.
        pretrained: the weights of the library that the networks come from, if any.
    """

    pattern: str
    examples: tuple[str, ...]
    rule: str
    description: str
    paper: str
    nearest_name: Callable[[str], str | None]
    build: Callable[[str, int, ImageShape], nn.Module]
    pretrained: PretrainedWeights | None = None
