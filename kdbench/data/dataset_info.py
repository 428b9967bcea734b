"""Class sizes and image shape of a data set, known without its files."""

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, final

import numpy as np
from annotated_types import Ge

from kdbench.data.dataset import Labels
from kdbench.data.images import Side
from kdbench.data.prepare import sample_indices
from kdbench.errors import DataError


@final
@dataclass(frozen=True)
class DatasetInfo:
    """Training images of each class, number of test images, image shape: enough to plan without the files."""

    class_sizes: tuple[int, ...]
    channels: int
    side: int | None  # height and width in pixels; None if the images differ in size
    test_size: int

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return len(self.class_sizes)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width.

        Raises:
            DataError: the images differ in size.
        """
        if self.side is None:
            raise DataError("its images differ in size; set the option resize, such as resize = 64")
        return self.channels, self.side, self.side

    @cached_property
    def train_labels(self) -> Labels:
        """The labels (N,) of the training images, sorted by class; a split of them is as large as one of the data."""
        return np.repeat(np.arange(self.num_classes, dtype=np.int64), self.class_sizes)

    def prepare(
        self,
        *,
        samples: Annotated[int, Ge(1)] | None = None,
        resize: Side = None,
        grayscale: bool = False,
    ) -> "DatasetInfo":
        """Return the info of the data set after `kdbench.data.prepare.prepare` with the same options.

        Raises:
            DataError: there are fewer training images than `samples`.
        """
        sizes = self.class_sizes
        if samples is not None:
            chosen = self.train_labels[sample_indices(self.train_labels, samples)]
            sizes = tuple(np.bincount(chosen, minlength=self.num_classes).tolist())
        channels, side = 1 if grayscale else self.channels, self.side if resize is None else resize
        return DatasetInfo(sizes, channels, side, self.test_size)
