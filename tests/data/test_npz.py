import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kdbench.data.npz import load_npz
from kdbench.errors import DataError

WriteNpz = Callable[[dict[str, Any]], Path]


def test_color_images_are_channels_first(arrays: dict[str, Any], write_npz: WriteNpz) -> None:
    data = load_npz(root=str(write_npz(arrays)))
    assert data.train_images.shape == (30, 3, 6, 4)
    assert np.array_equal(data.test_images[2, 1], arrays["test_images"][2, :, :, 1])
    assert data.test_labels.tolist() == [0, 1, 2] * 3
    assert data.num_classes == 3


def test_gray_images_have_one_channel(arrays: dict[str, Any], write_npz: WriteNpz) -> None:
    gray = {name: a[..., 0] if name.endswith("images") else a for name, a in arrays.items()}
    data = load_npz(root=str(write_npz(gray)))
    assert np.array_equal(data.train_images[:, 0], gray["train_images"])


def test_validation_images_are_appended_to_the_training_images(arrays: dict[str, Any], write_npz: WriteNpz) -> None:
    arrays |= {"val_images": arrays["test_images"][:4], "val_labels": np.array([3, 3, 3, 3])}
    data = load_npz(root=str(write_npz(arrays)))
    assert np.array_equal(data.train_images[30:], arrays["val_images"].transpose(0, 3, 1, 2))
    assert data.train_labels[30:].tolist() == [3] * 4
    assert data.num_classes == 4


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("train_labels", None, "'train_labels' is missing; found train_images, test_images, test_labels"),
        ("test_images", None, "'test_images' is missing"),
        ("val_images", np.zeros((2, 6, 4, 3), np.uint8), "'val_labels' is missing"),
        ("train_images", np.zeros((30, 6, 4, 4), np.uint8), "'train_images' has shape (30, 6, 4, 4)"),
        ("train_images", np.zeros((30, 6), np.uint8), "'train_images' has shape (30, 6)"),
        ("train_images", np.zeros((0, 6, 4, 3), np.uint8), "'train_images' has shape (0, 6, 4, 3)"),
        ("train_images", np.zeros((30, 6, 4, 3)), "'train_images' has type float64"),
        (
            "train_images",
            np.zeros((29, 6, 4, 3), np.uint8),
            "train_images has 29 images, but train_labels has 30 labels",
        ),
        (
            "test_images",
            np.zeros((9, 5, 4, 3), np.uint8),
            "training images have shape (C, H, W) (3, 6, 4), but test images (3, 5, 4)",
        ),
        ("train_labels", np.zeros(30), "'train_labels' has type float64"),
        ("train_labels", np.zeros((30, 2), int), "'train_labels' has shape (30, 2), but each image has one label"),
        ("test_labels", np.full(9, -1), "'test_labels' contains the label -1"),
        ("test_labels", np.array(3), "'test_labels' has shape ()"),
        ("train_labels", np.arange(30) % 3 + 1, "training labels must be 0 to 2 for 3 classes, got 1, 2, 3;"),
        (
            "train_labels",
            np.arange(30) % 7 * 5,
            "training labels must be 0 to 6 for 7 classes, got 0, 5, 10, 15, 20, ...;",
        ),
        ("test_labels", np.full(9, 3), "test label 3 has no training image; training labels are 0 to 2"),
        ("test_labels", np.array([{}] * 9, dtype=object), "cannot be read (Object arrays cannot be loaded"),
    ],
)
def test_a_file_with_another_layout_raises_with_its_path(
    arrays: dict[str, Any], write_npz: WriteNpz, name: str, value: Any, message: str
) -> None:
    arrays.pop(name, None)
    path = write_npz(arrays if value is None else {**arrays, name: value})
    with pytest.raises(DataError, match=re.escape(f"{path}: {message}")) as raised:
        load_npz(root=str(path))
    assert "required: an .npz file with train_images" in str(raised.value)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut off"])
def test_a_corrupted_file_raises_with_its_path(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "corrupted.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=re.escape(f"{path}: cannot be read")):
        load_npz(root=str(path))


def test_a_stream_that_cannot_be_decompressed_raises_with_the_path(tmp_path: Path, arrays: dict[str, Any]) -> None:
    path = tmp_path / "corrupted.npz"
    np.savez_compressed(path, train_images=arrays["train_images"] // 64)
    content = bytearray(path.read_bytes())
    start = content.index(b"train_images.npy") + len("train_images.npy") + 20
    content[start : start + 4] = b"\xff" * 4
    path.write_bytes(content)
    with pytest.raises(DataError, match=re.escape(f"{path}: cannot be read")):
        load_npz(root=str(path))


def test_a_folder_and_a_single_array_raise(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        load_npz(root=str(tmp_path))
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(DataError, match=r"one\.npy: it contains a single array"):
        load_npz(root=str(tmp_path / "one.npy"))
