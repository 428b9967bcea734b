"""Small networks that methods add, to compare tensors of different shapes, and the batch norms of networks."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from kdbench.errors import MethodError

Shape = tuple[int, int, int]


def regressor(source: Shape, target: Shape) -> nn.Sequential:
    """Return a module from maps (B, *source) to (B, *target), each shape (C, H, W): convolution, batch norm, ReLU.

    The convolution has stride 2 where the target is half as large and is transposed with stride 2 where it is twice as
    large; otherwise it has no padding (1x1 for equal sizes), and is transposed where the target is larger.

    Raises:
        MethodError: the target is higher and narrower, or lower and wider.
    """
    (before, *small), (after, *large) = source, target
    if all(s == 2 * t for s, t in zip(small, large, strict=True)):
        convolution: nn.Module = nn.Conv2d(before, after, 3, stride=2, padding=1)
    elif all(2 * s == t for s, t in zip(small, large, strict=True)):
        convolution = nn.ConvTranspose2d(before, after, 4, stride=2, padding=1)
    else:
        convolution = _valid(source, target)
    return nn.Sequential(convolution, nn.BatchNorm2d(after), nn.ReLU())


def _valid(source: Shape, target: Shape) -> nn.Module:
    (before, height, width), (after, high, wide) = source, target
    if height >= high and width >= wide:
        return nn.Conv2d(before, after, (height - high + 1, width - wide + 1))
    if height <= high and width <= wide:
        return nn.ConvTranspose2d(before, after, (high - height + 1, wide - width + 1))
    raise MethodError(
        f"a regressor must shrink or grow both height and width, got {height}x{width} to {high}x{wide}; "
        "compare stages of similar proportions"
    )


@contextmanager
def constant_statistics(network: nn.Module) -> Iterator[None]:
    """Leave the running statistics of all batch norms as they are; in training mode these still use the batch's own."""
    tracked = [module for module in network.modules() if isinstance(module, _NormBase) and module.track_running_stats]
    norms = [norm for norm in tracked if norm.training]  # in eval mode the others would use the batch's own statistics
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
