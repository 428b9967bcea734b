"""Passes over memory-mapped arrays."""

import mmap
import re
from pathlib import Path

import numpy as np
import pytest

from kdbench.data import memory_map
from kdbench.data.dataset import compute_fingerprint, count_duplicates
from kdbench.data.memory_map import chunks, read_ahead, release
from kdbench.data.moments import channel_moments

ROWS, ROW = 64, 3 * 40 * 40
SMAPS = Path("/proc/self/smaps")


@pytest.fixture
def mapped(tmp_path: Path) -> np.memmap:
    """Images (N, C, H, W) in a file whose first one does not begin on a page."""
    np.save(tmp_path / "images.npy", np.random.default_rng(0).integers(0, 256, (ROWS, 3, 40, 40), dtype=np.uint8))
    images: np.memmap = np.load(tmp_path / "images.npy", mmap_mode="r")
    return images


def mapped_kib(array: np.memmap) -> int:
    """The memory that the pages of a file take in this process."""
    entry = SMAPS.read_text(encoding="utf-8").partition(str(array.filename))[2]
    found = re.search(r"^Rss: +(\d+) kB", entry, re.MULTILINE)
    assert found is not None
    return int(found[1])


class Spy(mmap.mmap):
    """A map that records the advice it is given."""

    advice: list[tuple[int, ...]]

    def madvise(self, *arguments: int) -> None:
        self.advice.append(arguments)
        super().madvise(*arguments)


@pytest.mark.parametrize("row_bytes", [0, 10 * ROW])
def test_chunks_contain_every_row_in_order(monkeypatch: pytest.MonkeyPatch, row_bytes: int) -> None:
    monkeypatch.setattr(memory_map, "CHUNK", 10 * ROW)
    array = np.arange(25 * ROW).astype(np.uint8).reshape(25, ROW)
    parts = list(chunks(array, row_bytes))
    assert [len(part) for part in parts] == ([1] * 25 if row_bytes else [10, 10, 5])
    assert np.array_equal(np.concatenate(parts), array)
    assert list(chunks(array[:0])) == []


@pytest.mark.skipif(not SMAPS.exists(), reason="needs Linux")
def test_a_released_array_takes_no_memory_and_can_be_read_again(mapped: np.memmap) -> None:
    total = int(mapped.sum(dtype=np.int64))
    assert mapped_kib(mapped) >= ROWS * ROW // 1024
    release(mapped[3:, :1])
    assert mapped_kib(mapped) == 0
    assert int(mapped.sum(dtype=np.int64)) == total


@pytest.mark.skipif(not SMAPS.exists(), reason="needs Linux")
@pytest.mark.parametrize(
    "read",
    [
        compute_fingerprint,
        lambda images: count_duplicates(images, images),
        lambda images: channel_moments(images, np.arange(ROWS)),
    ],
)
def test_a_pass_over_a_data_set_leaves_no_page_in_the_process(mapped: np.memmap, read) -> None:  # type: ignore[no-untyped-def]
    read(mapped)
    assert mapped_kib(mapped) == 0


def test_rows_are_read_ahead_in_whole_pages(mapped: np.memmap) -> None:
    with Path(str(mapped.filename)).open("rb") as file:
        spy = Spy(file.fileno(), 0, access=mmap.ACCESS_READ)
    spy.advice = []
    array = np.ndarray(mapped.shape, np.uint8, spy, mapped.offset)
    read_ahead(array, [0, 40])
    page = mmap.PAGESIZE
    starts = [mapped.offset + row * ROW for row in (0, 40)]
    assert [advice[:2] for advice in spy.advice] == [(mmap.MADV_WILLNEED, start // page * page) for start in starts]
    assert [advice[1] + advice[2] for advice in spy.advice] == [start + ROW for start in starts]


def test_an_array_in_memory_needs_no_advice() -> None:
    array = np.zeros((4, 4), dtype=np.uint8)
    release(array)
    read_ahead(array, [3])
    assert not array.any()
