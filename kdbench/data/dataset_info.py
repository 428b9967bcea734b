"""What is known of a data set without its files."""

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, final

import numpy as np
from annotated_types import Ge

from kdbench.data.dataset import Labels
from kdbench.data.images import Side
from kdbench.data.prepare import sampled
from kdbench.errors import DataError


@final
@dataclass(frozen=True)
class DatasetInfo:
    """Enough of a data set to plan with: how many images of each class train, and their shape."""

    class_sizes: tuple[int, ...]
    channels: int
    side: int | None  # pixels; None where the images differ in size

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
            raise DataError("its images differ in size; give the option resize, such as resize = 64")
        return self.channels, self.side, self.side

    @cached_property
    def train_labels(self) -> Labels:
        """The labels (N,) of the training images, class by class: a split of them is as large as one of the data's."""
        return np.repeat(np.arange(self.num_classes, dtype=np.int64), self.class_sizes)

    def prepared(
        self,
        *,
        samples: Annotated[int, Ge(1)] | None = None,
        resize: Side = None,
        grayscale: bool = False,
    ) -> "DatasetInfo":
        """The info of what `prepare` makes of the data set.

        Raises:
            DataError: there are fewer training images than `samples`.
        """
        sizes = self.class_sizes
        if samples is not None:
            chosen = self.train_labels[sampled(self.train_labels, samples)]
            sizes = tuple(np.bincount(chosen, minlength=self.num_classes).tolist())
        return DatasetInfo(sizes, 1 if grayscale else self.channels, self.side if resize is None else resize)
