"""Memory-mapped arrays: passes and reads that leave few of their pages in the process.

The system caches the pages of a file as long as memory is free, for all processes together. A process that has read a
page keeps it mapped, and the page counts as its resident memory, until it is released.
"""

import mmap
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHUNK = 2**24  # bytes per step of a pass over an array


def chunks(array: NDArray[Any], row_bytes: int = 0) -> Iterator[NDArray[Any]]:
    """Yield an array in parts of about `CHUNK` bytes along its first axis; each is released before the next.

    Args:
        array: the array.
        row_bytes: the bytes that a row counts; by default its own.
    """
    rows = max(1, CHUNK // max(1, row_bytes or array[:1].nbytes))
    for start in range(0, len(array), rows):
        yield array[start : start + rows]
        release(array)


def release(array: NDArray[Any]) -> None:
    """Remove the pages of a memory-mapped array from this process; do nothing for any other array.

    The array keeps its values: the next read maps its pages again, from the system's cache or from disk. (A private,
    copy-on-write map would lose what was written to it.)
    """
    mapping = _mapping(array)
    if mapping is not None:
        mapping.madvise(mmap.MADV_DONTNEED)


def read_ahead(array: NDArray[Any], rows: Iterable[int]) -> None:
    """Start to read rows of a memory-mapped array from disk, without waiting; do nothing for any other array."""
    mapping = _mapping(array)
    if mapping is None or not array.flags.c_contiguous:
        return
    first, row_bytes = _address(array) - _address(np.frombuffer(mapping, np.uint8)), array[:1].nbytes
    for row in rows:
        start = first + row * row_bytes
        aligned = start - start % mmap.PAGESIZE
        mapping.madvise(mmap.MADV_WILLNEED, aligned, start + row_bytes - aligned)


def _mapping(array: NDArray[Any]) -> mmap.mmap | None:
    """Return the map of a file that an array is a view of, or None."""
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    return base if isinstance(base, mmap.mmap) else None


def _address(array: NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])
