"""Images that are read when a batch needs them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kdbench.data import image_reader
from kdbench.data.image_reader import ImageReader
from kdbench.data.memory_map import read_ahead, release

CPU = torch.device("cpu")
INDICES = np.array([9, 0, 3, 7, 4, 8])


@pytest.fixture
def images(tmp_path: Path) -> np.memmap:
    """Ten images in a file."""
    np.save(tmp_path / "images.npy", np.random.default_rng(0).integers(0, 256, (10, 3, 8, 8), dtype=np.uint8))
    mapped: np.memmap = np.load(tmp_path / "images.npy", mmap_mode="r")
    return mapped


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The rows that are read ahead, and the releases."""
    found: list[Any] = []

    def record_rows(array: np.ndarray, rows: Iterable[int]) -> None:
        found.append(list(rows))
        read_ahead(array, rows)

    def record_release(array: np.ndarray) -> None:
        found.append("release")
        release(array)

    monkeypatch.setattr(image_reader, "read_ahead", record_rows)
    monkeypatch.setattr(image_reader, "release", record_release)
    return found


def test_a_reader_is_indexed_like_a_tensor(images: np.memmap) -> None:
    reader, expected = ImageReader(images, INDICES, CPU), torch.tensor(images[INDICES])
    assert (len(reader), reader.shape, reader.nbytes) == (6, (6, 3, 8, 8), expected.nbytes)
    assert torch.equal(reader[:], expected)
    assert torch.equal(reader[2:5], expected[2:5])
    assert torch.equal(reader[torch.tensor([5, 0, 5])], expected[[5, 0, 5]])
    assert torch.equal(reader.to_device(), expected)


def test_images_move_to_their_device_in_parts(images: np.memmap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_reader, "MAPPED", 4 * images[0].nbytes)
    assert torch.equal(ImageReader(images, INDICES, CPU).to_device(), torch.tensor(images[INDICES]))
    assert ImageReader(images, INDICES, torch.device("meta"))[:2].device.type == "meta"


def test_the_next_batch_of_a_large_set_is_read_ahead(
    images: np.memmap, calls: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_reader, "MAPPED", 0)
    positions = torch.tensor([[0, 5], [1, 2], [4, 3]])
    batches = ImageReader(images, INDICES, CPU).batches(positions)
    assert torch.equal(next(batches), torch.tensor(images[[9, 8]]))
    assert calls == [[9, 8], [0, 3], "release"]
    assert torch.equal(next(batches), torch.tensor(images[[0, 3]]))
    assert calls[3:] == [[4, 7], "release"]


def test_the_next_slice_of_a_large_set_is_read_ahead(
    images: np.memmap, calls: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_reader, "MAPPED", 0)
    reader = ImageReader(images, INDICES, CPU)
    _ = reader[:2], reader[2:4]
    assert calls == [[9, 0, 3, 7], "release", [3, 7, 4, 8], "release"]


def test_a_small_set_stays_mapped(images: np.memmap, calls: list[Any]) -> None:
    reader = ImageReader(images, INDICES, CPU)
    _ = [*reader.batches(torch.arange(6).reshape(3, 2)), reader[:]]
    assert calls == []
