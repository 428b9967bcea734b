"""A decoded data set in memory, and the fingerprint of its content."""

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from kdbench.data.memory_map import chunks

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]


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
        for part in chunks(array):
            content.update(np.ascontiguousarray(part).data)
    return content.hexdigest()[:16]


def count_duplicates(train_images: Images, test_images: Images) -> int:
    """Return the number of test images (N, C, H, W) that equal one of the training images (M, C, H, W)."""
    unseen = Counter(_hash(image) for part in chunks(test_images) for image in part)
    return sum(unseen.pop(_hash(image), 0) for part in chunks(train_images) for image in part)


def _hash(image: Images) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()
