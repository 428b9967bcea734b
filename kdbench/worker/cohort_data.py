"""The images of a cohort on its device, split into training, validation and test."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdbench import data
from kdbench.data.batches import Batches, evaluation_batches
from kdbench.data.moments import run_moments
from kdbench.data.run_images import count_steps, split_images
from kdbench.data.splits import Indices
from kdbench.errors import DataError
from kdbench.matrix import RunSpec
from kdbench.training.method import Batch, Task


@final
@dataclass(frozen=True, eq=False)
class ImageSplit:
    """Images (N, C, H, W) uint8, labels (N,) int64, and the mean and standard deviation of each channel."""

    images: Tensor
    labels: Tensor
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def batches(self) -> Iterator[Tensor]:
        """Yield the normalized images in large batches, in order."""
        for images, _ in evaluation_batches(self.images, self.labels, self.mean, self.std):
            yield images


@final
@dataclass(frozen=True, eq=False)
class CohortData:
    """The task and the images that the runs of a cohort share."""

    task: Task
    train: ImageSplit
    validation: ImageSplit
    test: ImageSplit


def load_task(spec: RunSpec) -> Task:
    """Read a run's data set and return the task: what a method may know about it.

    Raises:
        DataError: the data set is missing, or its content differs from that at planning time.
    """
    loaded = _load(spec)
    return make_task(spec, loaded, split_images(loaded, spec.split, spec.recipe))


def load_cohort_data(spec: RunSpec, device: torch.device) -> CohortData:
    """Read a run's data set, split it, and move it to the device.

    Raises:
        DataError: the data set is missing, or its content differs from that at planning time.
    """
    loaded = _load(spec)
    indices, moments = split_images(loaded, spec.split, spec.recipe), run_moments(loaded, spec)

    def images(pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> ImageSplit:
        on_device = torch.tensor(pixels, device=device), torch.tensor(labels, device=device)
        return ImageSplit(*on_device, moments.mean, moments.std)

    return CohortData(
        task=make_task(spec, loaded, indices),
        train=images(loaded.train_images[indices.train], loaded.train_labels[indices.train]),
        validation=images(loaded.train_images[indices.validation], loaded.train_labels[indices.validation]),
        test=images(loaded.test_images, loaded.test_labels),
    )


def _load(spec: RunSpec) -> data.Dataset:
    loaded = data.load(spec.dataset)
    if loaded.fingerprint != spec.dataset.fingerprint:
        raise DataError(
            f"data set '{spec.dataset.name}' has changed: its fingerprint is {loaded.fingerprint}, but the runs were "
            f"planned with {spec.dataset.fingerprint}; run the matrix again to use the new content, or restore "
            "the files"
        )
    return loaded


def make_task(spec: RunSpec, loaded: data.Dataset | data.DatasetInfo, indices: Indices) -> Task:
    """Return the task of a run, from its data set or what is known of it without its files."""
    return Task(loaded.num_classes, len(indices.train), loaded.image_shape, spec.recipe.batch_size)


@final
@dataclass(frozen=True)
class EmptyBatches:
    """Batches without images, for a cohort that reads no training images; `steps_per_epoch` of them per epoch."""

    task: Task
    steps_per_epoch: int
    device: torch.device

    def epoch(self, epoch: int, epochs: int) -> Iterator[Batch]:
        """Yield the batches of an epoch, counted from 0, of a run of `epochs`."""
        images = torch.empty(0, *self.task.image_shape, device=self.device)
        labels = torch.empty(0, dtype=torch.int64, device=self.device)
        share = 1 / (epochs * self.steps_per_epoch)
        for step in range(self.steps_per_epoch):
            progress = (epoch * self.steps_per_epoch + step) * share
            yield Batch(images, labels, labels, progress, (images,), share)


def make_batches(spec: RunSpec, data: CohortData, views: int, reads_images: bool) -> Batches | EmptyBatches:
    """Return the batches of a cohort.

    Args:
        spec: any run of the cohort.
        data: the cohort's data.
        views: the number of augmented views per image.
        reads_images: whether any of the methods reads training images.
    """
    if not reads_images:
        return EmptyBatches(
            data.task, count_steps(spec.recipe, data.task.train_size, reads_images), data.test.images.device
        )
    train = data.train
    return Batches(
        train.images,
        train.labels,
        torch.arange(len(train.labels)),
        mean=train.mean,
        std=train.std,
        recipe=spec.recipe,
        seed=spec.stream_seed,
        views=views,
    )
