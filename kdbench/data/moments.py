"""Mean and standard deviation of each channel of images, which normalize them."""

from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from kdbench.data.dataset import Dataset, Images
from kdbench.data.memory_map import chunks, release
from kdbench.data.run_images import split_images
from kdbench.data.splits import IndexArray
from kdbench.matrix.spec import RunSpec


@final
@dataclass(frozen=True)
class Moments:
    """Mean and standard deviation (1 for a constant channel) of each channel of images scaled to [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def run_moments(loaded: Dataset, spec: RunSpec) -> Moments:
    """Return the moments of the training images of a run's split, before `train_samples` is applied.

    No validation image is read, and a teacher and a student of one split normalize their images equally.
    """
    recipe = spec.recipe.model_copy(update={"train_samples": None})
    return channel_moments(loaded.train_images, split_images(loaded, spec.split, recipe).train)


def channel_moments(images: Images, indices: IndexArray) -> Moments:
    """Return the moments of the images (N, C, H, W) at indices (M,), computed exactly from a histogram."""
    counts, values = _histogram(images, indices), np.arange(256)
    total = counts.sum(axis=1)
    mean = (counts * values).sum(axis=1) / total
    variance = (counts * (values - mean[:, None]) ** 2).sum(axis=1) / total
    return Moments(tuple(float(m) / 255 for m in mean), tuple(float(v) ** 0.5 / 255 or 1.0 for v in variance))


def _histogram(images: Images, indices: IndexArray) -> NDArray[np.int64]:
    """Count how often each channel has each value, (C, 256)."""
    import torch  # its `bincount` takes uint8, numpy's converts it to int64

    counts = np.zeros((images.shape[1], 256), dtype=np.int64)
    for chosen in chunks(indices, images[:1].nbytes):
        planes = torch.from_numpy(images[chosen].swapaxes(0, 1).reshape(images.shape[1], -1))
        release(images)
        counts += torch.stack([torch.bincount(plane, minlength=256) for plane in planes]).numpy()
    return counts
