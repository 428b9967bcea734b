"""The images of a cohort on its device, split into training, validation and test."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from torch import Tensor

from kdbench import data
from kdbench.data.batches import Batches, evaluation_batches
from kdbench.data.dataset import Images, Labels
from kdbench.data.image_reader import ImageReader
from kdbench.data.moments import run_moments
from kdbench.data.run_images import count_steps, split_images
from kdbench.data.splits import IndexArray, Indices
from kdbench.errors import DataError
from kdbench.matrix import RunSpec
from kdbench.training.method import Batch, Task
from kdbench.worker.memory import free_memory

GPU_SHARE = 0.25  # of the free memory of a GPU, for each part of a split


@final
@dataclass(frozen=True, eq=False)
class ImageSplit:
    """Images (N, C, H, W) uint8, labels (N,) int64, and the mean and standard deviation of each channel."""

    images: Tensor | ImageReader
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
    return load_sizes(spec)[0]


def load_sizes(spec: RunSpec) -> tuple[Task, int]:
    """Read a run's data set and return the task and the number of validation images.

    Raises:
        DataError: as for `load_task`.
    """
    loaded = _load(spec)
    indices = split_images(loaded, spec.split, spec.recipe)
    return make_task(spec, loaded, indices), len(indices.validation)


def load_cohort_data(spec: RunSpec, device: torch.device) -> CohortData:
    """Read a run's data set and split it.

    The images move to a GPU if they take at most `GPU_SHARE` of its free memory. Otherwise, and on the CPU, they are
    read from the memory-mapped data set, batch by batch.

    Raises:
        DataError: the data set is missing, or its content differs from that at planning time.
    """
    loaded = _load(spec)
    indices, moments = split_images(loaded, spec.split, spec.recipe), run_moments(loaded, spec)

    def images(pixels: Images, labels: Labels, chosen: IndexArray) -> ImageSplit:
        reader = ImageReader(pixels, chosen, device)
        source = reader.to_device() if _fits(reader) else reader
        return ImageSplit(source, torch.tensor(labels[chosen], device=device), moments.mean, moments.std)

    return CohortData(
        task=make_task(spec, loaded, indices),
        train=images(loaded.train_images, loaded.train_labels, indices.train),
        validation=images(loaded.train_images, loaded.train_labels, indices.validation),
        test=images(loaded.test_images, loaded.test_labels, np.arange(loaded.test_size)),
    )


def _fits(images: ImageReader) -> bool:
    """Return whether images are to be copied to their device."""
    return images.device.type != "cpu" and images.nbytes <= GPU_SHARE * free_memory(images.device)


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
