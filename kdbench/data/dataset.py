"""A decoded data set in memory, and the fingerprint of its content."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]

CHUNK = 4096  # images per step of the histogram


@final
@dataclass(frozen=True, eq=False)
class Dataset:
    """Training and test images (N, C, H, W) uint8 with their labels (N,) int64. The arrays may be read-only."""

    train_images: Images
    train_labels: Labels
    test_images: Images
    test_labels: Labels
    num_classes: int
    fingerprint: str
    test_duplicates: int  # test images that equal a training image in every pixel

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        _, channels, height, width = self.train_images.shape
        return channels, height, width

    @property
    def test_size(self) -> int:
        """The number of test images."""
        return len(self.test_labels)

    @cached_property
    def mean(self) -> tuple[float, ...]:
        """The mean of each channel of the training images, scaled to [0, 1]."""
        return tuple(float(mean) / 255 for mean in self._mean_and_variance[0])

    @cached_property
    def std(self) -> tuple[float, ...]:
        """The standard deviation of each channel, scaled to [0, 1]; 1 for a constant channel."""
        return tuple(float(variance) ** 0.5 / 255 or 1.0 for variance in self._mean_and_variance[1])

    @cached_property
    def _mean_and_variance(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and variance (C,) of each channel, computed exactly from a histogram."""
        counts, values = _histogram(self.train_images), np.arange(256)
        total = counts.sum(axis=1)
        mean = (counts * values).sum(axis=1) / total
        return mean, (counts * (values - mean[:, None]) ** 2).sum(axis=1) / total


def assemble(
    train_images: NDArray[Any],
    train_labels: NDArray[Any],
    test_images: NDArray[Any],
    test_labels: NDArray[Any],
    num_classes: int,
) -> Dataset:
    """Return a data set of images (N, C, H, W) and labels (N,), converted to its types, with its fingerprint."""
    arrays = (
        np.ascontiguousarray(train_images, dtype=np.uint8),
        np.ascontiguousarray(train_labels, dtype="<i8"),
        np.ascontiguousarray(test_images, dtype=np.uint8),
        np.ascontiguousarray(test_labels, dtype="<i8"),
    )
    return Dataset(
        *arrays,
        num_classes=num_classes,
        fingerprint=compute_fingerprint(*arrays),
        test_duplicates=count_duplicates(arrays[0], arrays[2]),
    )


def compute_fingerprint(*arrays: NDArray[Any]) -> str:
    """Return 16 hexadecimal digits of the SHA-256 of the shapes, types and values of the arrays."""
    content = hashlib.sha256()
    for array in arrays:
        content.update(f"{array.shape}{array.dtype.str}".encode())
        content.update(np.ascontiguousarray(array).data)
    return content.hexdigest()[:16]


def count_duplicates(train_images: Images, test_images: Images) -> int:
    """Return the number of test images (N, C, H, W) that equal one of the training images (M, C, H, W)."""
    known = {_hash(image) for image in train_images}
    return sum(_hash(image) in known for image in test_images)


def _hash(image: Images) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()


def _histogram(images: Images) -> NDArray[np.int64]:
    """Count how often each channel has each value, (C, 256)."""
    counts = np.zeros((images.shape[1], 256), dtype=np.int64)
    for start in range(0, len(images), CHUNK):
        chunk = images[start : start + CHUNK]
        for channel in range(images.shape[1]):
            counts[channel] += np.bincount(chunk[:, channel].ravel(), minlength=256)
    return counts
