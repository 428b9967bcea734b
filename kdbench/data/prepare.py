"""The options of every kind of data set: fewer training images, another image size, grayscale."""

from typing import Annotated

import numpy as np
from annotated_types import Ge
from PIL import Image

from kdbench.data.dataset import Dataset, Images, Labels, assemble
from kdbench.data.images import Side, allocate
from kdbench.data.splits import IndexArray, split
from kdbench.errors import DataError

LUMA = (19595, 38470, 7471)  # ITU-R 601 weights of red, green and blue in 65536ths, as in Pillow


def prepare(
    data: Dataset,
    *,
    samples: Annotated[int, Ge(1)] | None = None,
    resize: Side = None,
    grayscale: bool = False,
) -> Dataset:
    """Return the data set with `samples` stratified training images, of `resize` x `resize` pixels, in grayscale.

    Raises:
        DataError: there are fewer training images than `samples`.
    """
    labels = data.train_labels
    kept = slice(None) if samples is None else sample_indices(labels, samples)
    train, test = data.train_images[kept], data.test_images
    if grayscale:
        train, test = to_gray(train), to_gray(test)
    if resize is not None:
        train, test = resize_images(train, resize), resize_images(test, resize)
    return assemble(train, labels[kept], test, data.test_labels, data.num_classes)


def sample_indices(labels: Labels, samples: int) -> IndexArray:
    """Return the ascending indices of `samples` stratified training images.

    Raises:
        DataError: there are fewer training images.
    """
    if samples > len(labels):
        raise DataError(
            f"samples is {samples}, but there are {len(labels)} training images; "
            f"set it to a number from 1 to {len(labels)}, or remove it to use all"
        )
    return np.sort(split(labels, 0, 0, samples).train)


def to_gray(images: Images) -> Images:
    """Return the luma (N, 1, H, W) of images (N, 3, H, W); gray images are returned unchanged."""
    if images.shape[1] == 1:
        return images
    red, green, blue = (images[:, channel].astype(np.uint32) * weight for channel, weight in enumerate(LUMA))
    return ((red + green + blue + 2**15) >> 16).astype(np.uint8)[:, None]


def resize_images(images: Images, size: int) -> Images:
    """Return images (N, C, H, W) as (N, C, size, size), with bilinear interpolation and antialiasing.

    Raises:
        DataError: the result does not fit on the disk of the cache.
    """
    count, channels, height, width = images.shape
    if height == width == size:
        return images
    resized = allocate(count, channels, size, size)
    for target, plane in zip(resized.reshape(-1, size, size), images.reshape(-1, height, width), strict=True):
        target[:] = np.asarray(Image.fromarray(plane).resize((size, size), Image.Resampling.BILINEAR))
    return resized
