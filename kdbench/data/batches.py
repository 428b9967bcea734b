"""Training batches as a function of seed, epoch and position, and batches to evaluate on."""

from collections.abc import Iterator, Sequence
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdbench.data.augment import augment
from kdbench.data.transfer import to_device_async
from kdbench.errors import DataError
from kdbench.matrix.recipe import Recipe
from kdbench.training.method import Batch
from kdbench.training.randomness import make_generator


@final
class Batches:
    """The training batches of a run, on the device of `images`.

    images: (N, C, H, W) uint8. labels: (N,) int64. indices: (M,), the places of the training images among them.
    mean, std: of each channel, where white is 1. views: independent augmentations per image; the second one is by
    `recipe.strong_augment`, if that is given, all others by `recipe.augment`.

    Raises:
        DataError: there are fewer training images than one batch.
    """

    def __init__(
        self,
        images: Tensor,
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
        self._mean, self._std = _channels(mean, images), _channels(std, images)
        self._size, self._seed = recipe.batch_size, seed
        strong = recipe.strong_augment or recipe.augment
        self._augmentations = [strong if view == 1 else recipe.augment for view in range(views)]
        if not self.steps_per_epoch:
            raise DataError(
                f"recipe.batch_size is {self._size}, but there are only {len(self._indices)} training images, and "
                f"batches are always full; lower it to {len(self._indices)} or less"
            )

    @property
    def steps_per_epoch(self) -> int:
        """How many full batches an epoch has; the remainder is dropped."""
        return len(self._indices) // self._size

    def epoch(self, epoch: int, epochs: int) -> Iterator[Batch]:
        """The batches of one epoch, counted from 0, of a run of `epochs`.

        A batch's `indices` count the training images: from 0 to M - 1.
        """
        steps = self.steps_per_epoch
        order = torch.randperm(len(self._indices), generator=make_generator("order", self._seed, epoch))
        full = to_device_async(order[: steps * self._size], self._images.device).reshape(steps, self._size)
        for position, places in enumerate(full):
            chosen = self._indices[places]
            views = tuple(self._views(chosen, epoch, position))
            yield Batch(views[0], self._labels[chosen], places, (epoch + position / steps) / epochs, views)

    def _views(self, chosen: Tensor, epoch: int, position: int) -> Iterator[Tensor]:
        images = self._images[chosen].float() / 255
        for view, augmentations in enumerate(self._augmentations):
            generator = make_generator("augment", self._seed, epoch, position, view)
            normalized = (augment(images, augmentations, generator) - self._mean) / self._std
            yield normalized.contiguous(memory_format=torch.channels_last)  # as convolutions want them


def evaluation_batches(
    images: Tensor, labels: Tensor, mean: Sequence[float], std: Sequence[float], size: int = 1024
) -> Iterator[tuple[Tensor, Tensor]]:
    """All images (N, C, H, W) uint8, normalized, with their labels (N,), in order, `size` at a time."""
    center, scale = _channels(mean, images), _channels(std, images)
    for start in range(0, len(images), size):
        part = slice(start, start + size)
        normalized = (images[part].float() / 255 - center) / scale
        yield normalized.contiguous(memory_format=torch.channels_last), labels[part]


def _channels(values: Sequence[float], images: Tensor) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=images.device)[:, None, None]
