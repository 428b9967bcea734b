"""What may be asked of every kind of data set: fewer training images, another size, no colors."""

from typing import Annotated

import numpy as np
from annotated_types import Ge
from PIL import Image

from kdbench.data.dataset import DataSet, Images, Labels, assemble
from kdbench.data.images import Side, room
from kdbench.data.splits import Places, split
from kdbench.errors import DataError

LUMA = (19595, 38470, 7471)  # ITU-R 601 weights of red, green and blue in 65536ths, as Pillow has them


def prepare(
    data: DataSet,
    *,
    samples: Annotated[int, Ge(1)] | None = None,
    resize: Side = None,
    grayscale: bool = False,
) -> DataSet:
    """A data set of `samples` stratified training images, of `resize` x `resize` pixels, in gray.

    Raises:
        DataError: there are fewer training images than `samples`.
    """
    labels = data.train_labels
    places = slice(None) if samples is None else sampled(labels, samples)
    train, test = data.train_images[places], data.test_images
    if grayscale:
        train, test = gray(train), gray(test)
    if resize is not None:
        train, test = resized(train, resize), resized(test, resize)
    return assemble(train, labels[places], test, data.test_labels, data.num_classes)


def sampled(labels: Labels, samples: int) -> Places:
    """The places, ascending, of `samples` training images, stratified.

    Raises:
        DataError: there are fewer.
    """
    if samples > len(labels):
        raise DataError(
            f"samples is {samples}, but there are {len(labels)} training images; "
            f"give a number from 1 to {len(labels)}, or leave it out to use all"
        )
    return np.sort(split(labels, 0, 0, samples).train)


def gray(images: Images) -> Images:
    """The luma (N, 1, H, W) of images (N, 3, H, W); gray images stay what they are."""
    if images.shape[1] == 1:
        return images
    red, green, blue = (images[:, channel].astype(np.uint32) * weight for channel, weight in enumerate(LUMA))
    return ((red + green + blue + 2**15) >> 16).astype(np.uint8)[:, None]


def resized(images: Images, size: int) -> Images:
    """Images (N, C, H, W) as (N, C, size, size): bilinear, antialiased where they shrink."""
    count, channels, height, width = images.shape
    if height == width == size:
        return images
    small = room(count, channels, size, size)
    for place, plane in zip(small.reshape(-1, size, size), images.reshape(-1, height, width), strict=True):
        place[:] = np.asarray(Image.fromarray(plane).resize((size, size), Image.Resampling.BILINEAR))
    return small
