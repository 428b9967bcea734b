"""Images of a split that are read from a memory-mapped data set when a batch needs them."""

from collections.abc import Iterator
from typing import final

import torch
from torch import Tensor

from kdbench.data.dataset import Images
from kdbench.data.memory_map import read_ahead, release
from kdbench.data.splits import IndexArray
from kdbench.data.transfer import to_device_async

MAPPED = 2**28  # bytes of a data set that stay mapped in this process; the system's cache may hold all of it


@final
class ImageReader:
    """Some images of a data set, as tensors on a device; indexed like a tensor (N, C, H, W) uint8.

    Of a data set larger than `MAPPED`, no page stays in the process after a read, and the next batch is read from disk
    while one trains.

    Args:
        images: all images (M, C, H, W) of the data set, usually memory-mapped.
        indices: (N,) the images to read.
        device: where the tensors are.
    """

    def __init__(self, images: Images, indices: IndexArray, device: torch.device) -> None:
        self._images = images
        self._indices = indices
        self.device = device
        self._is_large = images.nbytes > MAPPED

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape (N, C, H, W) of all images together."""
        return len(self._indices), *self._images.shape[1:]

    @property
    def nbytes(self) -> int:
        """The size of all images together."""
        return len(self._indices) * self._images[:1].nbytes

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, chosen: slice | Tensor) -> Tensor:
        """Return images (B, C, H, W).

        Args:
            chosen: positions (B,) on the CPU, or a slice; after a slice the next one is expected.
        """
        if isinstance(chosen, slice):
            start, stop, _ = chosen.indices(len(self))
            self._read_ahead(slice(start, 2 * stop - start))
        pixels = torch.from_numpy(self._images[self._rows(chosen)])
        if self._is_large:
            release(self._images)
        return to_device_async(pixels, self.device)

    def batches(self, positions: Tensor) -> Iterator[Tensor]:
        """Yield the images (B, C, H, W) of each row of positions (steps, B), which are on the CPU."""
        self._read_ahead(positions[:1].flatten())
        for step, chosen in enumerate(positions):
            self._read_ahead(positions[step + 1 : step + 2].flatten())
            yield self[chosen]

    def to_device(self) -> Tensor:
        """Return all images on the device."""
        copy = torch.empty(self.shape, dtype=torch.uint8, device=self.device)
        rows = max(1, MAPPED // self._images[:1].nbytes)
        for start in range(0, len(self), rows):
            copy[start : start + rows] = self[start : start + rows]
        return copy

    def _read_ahead(self, chosen: slice | Tensor) -> None:
        if self._is_large:
            read_ahead(self._images, self._rows(chosen).tolist())

    def _rows(self, chosen: slice | Tensor) -> IndexArray:
        rows: IndexArray = self._indices[chosen if isinstance(chosen, slice) else chosen.numpy()]
        return rows
