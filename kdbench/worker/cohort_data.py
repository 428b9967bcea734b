"""The images of a cohort on its device: what trains, what validates, what tests."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdbench import data
from kdbench.data.batches import Batches, evaluation_batches
from kdbench.data.splits import Indices, split
from kdbench.errors import DataError
from kdbench.matrix import RunSpec
from kdbench.training.method import Batch, Task


@final
@dataclass(frozen=True, eq=False)
class ImageSplit:
    """Images (N, C, H, W) uint8 with labels (N,) int64, and the moments of each channel that normalize them."""

    images: Tensor
    labels: Tensor
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def batches(self) -> Iterator[Tensor]:
        """Normalized images in large batches, in order."""
        for images, _ in evaluation_batches(self.images, self.labels, self.mean, self.std):
            yield images


@final
@dataclass(frozen=True, eq=False)
class CohortData:
    """What the runs of a cohort share."""

    task: Task
    train: ImageSplit
    validation: ImageSplit
    test: ImageSplit


def task_of(spec: RunSpec) -> Task:
    """What a run's method may know of its data set."""
    loaded = _loaded(spec)
    return _task(spec, loaded, _parts(spec, loaded))


def load_cohort_data(spec: RunSpec, device: torch.device) -> CohortData:
    """Read a run's data set, split it, and put it on the device.

    Raises:
        DataError: it is not there, or its content is not what the run was planned with.
    """
    loaded = _loaded(spec)
    parts = _parts(spec, loaded)

    def images(pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> ImageSplit:
        on_device = torch.tensor(pixels, device=device), torch.tensor(labels, device=device)
        return ImageSplit(*on_device, loaded.mean, loaded.std)

    return CohortData(
        task=_task(spec, loaded, parts),
        train=images(loaded.train_images[parts.train], loaded.train_labels[parts.train]),
        validation=images(loaded.train_images[parts.validation], loaded.train_labels[parts.validation]),
        test=images(loaded.test_images, loaded.test_labels),
    )


def _loaded(spec: RunSpec) -> data.Dataset:
    """The data set, whose content is part of the run's identity."""
    loaded = data.load(spec.dataset)
    if loaded.fingerprint != spec.dataset.fingerprint:
        raise DataError(
            f"data set '{spec.dataset.name}' must have the content that the runs were planned with "
            f"({spec.dataset.fingerprint}), but here it has another ({loaded.fingerprint}); run the matrix again to "
            "take what is here, or put the old files back"
        )
    return loaded


def _task(spec: RunSpec, loaded: data.Dataset, parts: Indices) -> Task:
    return Task(loaded.num_classes, len(parts.train), loaded.image_shape, spec.recipe.batch_size)


def _parts(spec: RunSpec, loaded: data.Dataset) -> Indices:
    return split(loaded.train_labels, spec.split.validation, spec.split.split_seed, spec.recipe.train_samples)


@final
@dataclass(frozen=True)
class NoImages:
    """The batches of a method that opens no training image: empty, as many as `steps_per_epoch`."""

    task: Task
    steps_per_epoch: int
    device: torch.device

    def epoch(self, epoch: int, epochs: int) -> Iterator[Batch]:
        """The batches of an epoch, from 0."""
        images = torch.empty(0, *self.task.image_shape, device=self.device)
        labels = torch.empty(0, dtype=torch.int64, device=self.device)
        for step in range(self.steps_per_epoch):
            progress = (epoch * self.steps_per_epoch + step) / (epochs * self.steps_per_epoch)
            yield Batch(images, labels, labels, progress, (images,))


def batches(spec: RunSpec, material: CohortData, views: int, opens_images: bool) -> Batches | NoImages:
    """The batches of a cohort, from the run that stands for all its members."""
    if not opens_images:
        steps = spec.recipe.steps_per_epoch or max(1, material.task.train_size // spec.recipe.batch_size)
        return NoImages(material.task, steps, material.test.images.device)
    train = material.train
    return Batches(
        train.images,
        train.labels,
        torch.arange(len(train.labels)),
        mean=train.mean,
        std=train.std,
        recipe=spec.recipe,
        seed=spec.seed,
        views=views,
    )
