"""Training batches as a function of seed, epoch and position, and evaluation batches."""

import math
from collections.abc import Iterator, Sequence
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdbench.data.augment import augment
from kdbench.data.image_reader import ImageReader
from kdbench.data.transfer import to_device_async
from kdbench.errors import DataError
from kdbench.matrix.recipe import Recipe
from kdbench.training.method import Batch
from kdbench.training.randomness import make_generator

EVALUATION_IMAGES = 1024
EVALUATION_VALUES = EVALUATION_IMAGES * 3 * 64 * 64


@final
class Batches:
    """The training batches of a run, on the device of `images`.

    Args:
        images: (N, C, H, W) uint8, in memory or read when a batch needs them.
        labels: (N,) int64, on the device of `images`.
        indices: (M,) indices of the training images among them.
        mean: of each channel, for images in [0, 1].
        std: of each channel, for images in [0, 1].
        recipe: batch size and augmentations.
        seed: determines the order and the augmentations.
        views: number of independent augmentations per image. `recipe.strong_augment`, if given, makes the second view;
            `recipe.augment` makes all others.

    Raises:
        DataError: there are fewer training images than one batch.
    """

    def __init__(
        self,
        images: Tensor | ImageReader,
        labels: Tensor,
        indices: Tensor | NDArray[np.int64],
        *,
        mean: Sequence[float],
        std: Sequence[float],
        recipe: Recipe,
        seed: int,
        views: int = 1,
    ) -> None:
        self._images, self._labels = images, labels
        self._indices = torch.as_tensor(indices, device=images.device)
        self._mean, self._std = _per_channel(mean, images), _per_channel(std, images)
        self._size, self._seed = recipe.batch_size, seed
        strong = recipe.strong_augment or recipe.augment
        self._augmentations = [strong if view == 1 else recipe.augment for view in range(views)]
        if not self.steps_per_epoch:
            raise DataError(
                f"recipe.batch_size is {self._size}, but there are only {len(self._indices)} training images, and "
                f"batches are always full; set it to {len(self._indices)} or less"
            )

    @property
    def steps_per_epoch(self) -> int:
        """The number of full batches in an epoch; the remaining images are dropped."""
        return len(self._indices) // self._size

    def epoch(self, epoch: int, epochs: int) -> Iterator[Batch]:
        """Yield the batches of epoch `epoch` (from 0) of a run of `epochs` epochs.

        `Batch.indices` are positions in `indices`: 0 to M - 1.
        """
        steps = self.steps_per_epoch
        order = torch.randperm(len(self._indices), generator=make_generator("order", self._seed, epoch))
        order = order[: steps * self._size].reshape(steps, self._size)
        batches = to_device_async(order, self._images.device)
        for step, (positions, pixels) in enumerate(zip(batches, self._pixels(order, batches), strict=True)):
            views = tuple(self._views(pixels, epoch, step))
            progress, share = (epoch + step / steps) / epochs, 1 / (epochs * steps)
            yield Batch(views[0], self._labels[self._indices[positions]], positions, progress, views, share)

    def _pixels(self, order: Tensor, batches: Tensor) -> Iterator[Tensor]:
        """Yield the images (B, C, H, W) of each batch; both tensors are their positions (steps, B)."""
        if isinstance(self._images, ImageReader):
            yield from self._images.batches(self._indices.cpu()[order])
        else:
            yield from (self._images[self._indices[positions]] for positions in batches)

    def _views(self, pixels: Tensor, epoch: int, step: int) -> Iterator[Tensor]:
        images = pixels.float() / 255
        for view, augmentations in enumerate(self._augmentations):
            generator = make_generator("augment", self._seed, epoch, step, view)
            normalized = (augment(images, augmentations, generator) - self._mean) / self._std
            yield normalized.contiguous(memory_format=torch.channels_last)  # the fastest layout for convolutions


def evaluation_batches(
    images: Tensor | ImageReader,
    labels: Tensor,
    mean: Sequence[float],
    std: Sequence[float],
    size: int = EVALUATION_IMAGES,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield all images (N, C, H, W) uint8, normalized, and their labels (N,), in order, at most `size` at a time.

    Batches of images with more than 3 x 64 x 64 values are smaller, so that they need no more memory.
    """
    size = min(size, max(1, EVALUATION_VALUES // math.prod(images.shape[1:])))
    channel_mean, channel_std = _per_channel(mean, images), _per_channel(std, images)
    for start in range(0, len(images), size):
        part = slice(start, start + size)
        normalized = (images[part].float() / 255 - channel_mean) / channel_std
        yield normalized.contiguous(memory_format=torch.channels_last), labels[part]


def _per_channel(values: Sequence[float], images: Tensor | ImageReader) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=images.device)[:, None, None]
