import io
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torchvision.datasets
from PIL import Image

from kdbench import data
from kdbench.data import DataSpec, downloads
from kdbench.data.mnist import MNIST
from kdbench.data.moments import channel_moments
from kdbench.errors import DataError

Unpack = Callable[[str], Path]


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail all downloads; existing archives are still unpacked."""
    original = torchvision.datasets.utils.download_url

    def fail(url: str, root: str, filename: str, md5: str | None = None, **options: Any) -> None:
        if not torchvision.datasets.utils.check_integrity(str(Path(root) / filename), md5):
            raise URLError("no route to host")
        original(url, root, filename, md5, **options)

    monkeypatch.setattr(torchvision.datasets.utils, "download_url", fail)


@pytest.mark.parametrize(
    ("kind", "source", "first", "mean", "std"),
    [
        ("mnist", "mnist", [5, 0, 4, 1, 9], 0.1307, 0.3081),
        ("fashion_mnist", "fashion-mnist", [9, 0, 0, 3, 0], 0.2860, 0.3530),
    ],
)
def test_the_original_files_are_unpacked_and_read_once(
    unpack: Unpack, monkeypatch: pytest.MonkeyPatch, kind: str, source: str, first: list[int], mean: float, std: float
) -> None:
    spec = DataSpec(kind, kind, {"root": str(unpack(source))})
    found = data.load(spec)
    assert (found.train_images.shape, found.test_images.shape) == ((60_000, 1, 28, 28), (10_000, 1, 28, 28))
    assert found.train_labels[:5].tolist() == first
    assert (found.num_classes, np.bincount(found.test_labels).sum()) == (10, 10_000)
    moments = channel_moments(found.train_images, np.arange(60_000))
    assert (*moments.mean, *moments.std) == pytest.approx((mean, std), abs=5e-5)
    monkeypatch.setattr(downloads, "downloaded", None)
    assert data.load(spec).fingerprint == found.fingerprint


@pytest.mark.parametrize(("kind", "folder"), [("mnist", "MNIST/raw"), ("fashion_mnist", "FashionMNIST/raw")])
def test_without_files_and_internet_the_error_states_the_layout(tmp_path: Path, kind: str, folder: str) -> None:
    spec = DataSpec(kind, kind, {"root": str(tmp_path)})
    data.check(spec)
    with pytest.raises(DataError, match=re.escape(f"{tmp_path}: ")) as raised:
        data.load(spec)
    assert "no route to host" in str(raised.value)
    assert f"required: a folder with {folder}/ that contains train-images-idx3-ubyte" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_corrupted_file_raises_with_its_folder(tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in MNIST.file_sets[0]:
        (tmp_path / name).write_bytes(b"\x00\x00\x08\x03 truncated")
    with pytest.raises(DataError, match=re.escape(f"{tmp_path}: MNIST can")):
        data.load(DataSpec("mnist", "mnist", {"root": str(tmp_path)}))


CIFARS = {
    "cifar10": (torchvision.datasets.CIFAR10, "labels", "label_names", 10),
    "cifar100": (torchvision.datasets.CIFAR100, "fine_labels", "fine_label_names", 100),
}


@pytest.fixture
def write_cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], np.ndarray]:
    """Write small files in the layout of CIFAR, five images each, and return their pixels (N, 3, 32, 32) in order."""

    def write(kind: str) -> np.ndarray:
        original, key, names, classes = CIFARS[kind]
        folder = tmp_path / original.base_folder
        folder.mkdir()
        files = [name for name, _ in original.train_list + original.test_list]
        pixels = np.random.default_rng(0).integers(0, 256, (5 * len(files), 3072), dtype=np.uint8)
        for number, name in enumerate(files):
            content = {"data": pixels[5 * number : 5 * number + 5], key: [classes - 1, 0, 1, 2, number]}
            (folder / name).write_bytes(pickle.dumps(content))
        (folder / original.meta["filename"]).write_bytes(pickle.dumps({names: ["name"] * classes}))
        for attribute in ("train_list", "test_list"):
            monkeypatch.setattr(original, attribute, [[name, None] for name, _ in getattr(original, attribute)])
        monkeypatch.setattr(original, "meta", {**original.meta, "md5": None})
        return pixels.reshape(-1, 3, 32, 32)

    return write


@pytest.mark.parametrize("kind", CIFARS)
def test_cifar_is_read_from_its_original_files(
    tmp_path: Path, write_cifar: Callable[[str], np.ndarray], kind: str
) -> None:
    pixels = write_cifar(kind)
    found = data.load(DataSpec(kind, kind, {"root": str(tmp_path)}))
    assert np.array_equal(np.concatenate([found.train_images, found.test_images]), pixels)
    assert found.num_classes == CIFARS[kind][3]
    assert found.train_labels[:5].tolist() == [found.num_classes - 1, 0, 1, 2, 0]
    assert found.test_labels.tolist() == [found.num_classes - 1, 0, 1, 2, len(pixels) // 5 - 1]


@pytest.mark.parametrize("kind", CIFARS)
def test_cifar_with_another_checksum_raises(tmp_path: Path, kind: str) -> None:
    original = CIFARS[kind][0]
    (tmp_path / original.base_folder).mkdir()
    (tmp_path / original.base_folder / original.test_list[0][0]).write_bytes(b"corrupted")
    with pytest.raises(
        DataError, match=f"{original.__name__} can be neither read nor downloaded.*{original.base_folder}/"
    ):
        data.load(DataSpec(kind, kind, {"root": str(tmp_path)}))


def test_other_files_below_the_root_are_ignored(
    unpack: Unpack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = unpack("mnist")
    spec = DataSpec("mnist", "mnist", {"root": str(root), "samples": 100})
    expected = data.get_fingerprint(spec)
    (root / "another.txt").touch()
    monkeypatch.setattr(downloads, "downloaded", None)
    assert data.get_fingerprint(spec) == expected


def test_the_default_root_is_the_folder_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=re.escape(f"{tmp_path / 'data'}: MNIST can")):
        data.load(DataSpec("mnist", "mnist"))


def write_shard(file: Path, pixels: np.ndarray, columns: dict[str, Any]) -> None:
    """Write images (N, H, W) or (N, H, W, 3) and labels to a Parquet file in the layout of Hugging Face."""
    images = []
    for image in pixels:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, format="PNG")
        images.append({"bytes": buffer.getvalue(), "path": None})
    pq.write_table(pa.table({"img": images, **columns}), file)


def write_parquet(folder: Path, columns: dict[str, list[int]], side: int = 32, channels: int = 3) -> np.ndarray:
    """Write a small data set with equal training and test images, and return these images (N, C, H, W)."""
    folder.mkdir(parents=True, exist_ok=True)
    count = len(next(iter(columns.values())))
    pixels = np.random.default_rng(0).integers(0, 256, (count, side, side, channels), dtype=np.uint8)
    for part in ("train", "test"):
        write_shard(folder / f"{part}-00000-of-00001.parquet", pixels.squeeze(3) if channels == 1 else pixels, columns)
    return pixels.transpose(0, 3, 1, 2)


@pytest.mark.parametrize("folder", [".", "data", "cifar100"])
def test_cifar_100_is_read_from_parquet_files(tmp_path: Path, folder: str) -> None:
    pixels = write_parquet(tmp_path / folder, {"fine_label": [3, 98, 7], "coarse_label": [19, 0, 1]})
    spec = DataSpec("mine", "cifar100", {"root": str(tmp_path)})
    data.check(spec)
    assert data.find_missing(spec) is None
    found = data.load(spec)
    assert np.array_equal(found.train_images, pixels)
    assert (found.train_labels.tolist(), found.num_classes) == ([3, 98, 7], 100)


@pytest.mark.parametrize(("kind", "side", "channels"), [("cifar10", 32, 3), ("mnist", 28, 1), ("fashion_mnist", 28, 1)])
def test_other_data_sets_are_read_from_parquet_files(tmp_path: Path, kind: str, side: int, channels: int) -> None:
    pixels = write_parquet(tmp_path, {"label": [5, 0]}, side, channels)
    found = data.load(DataSpec(kind, kind, {"root": str(tmp_path)}))
    assert np.array_equal(found.train_images, pixels)
    assert (found.train_labels.tolist(), found.num_classes) == ([5, 0], 10)


@pytest.mark.parametrize(
    ("columns", "side", "message"),
    [
        (
            {"fine_label": [0, 100]},
            32,
            "of (3, 32, 32) with labels up to 100; required: (3, 32, 32) with",
        ),
        ({"fine_label": [0, 1]}, 28, "of (3, 28, 28) with labels up to 1; required: (3, 32, 32) with"),
        ({"label": [0, 1]}, 32, "there is no column 'fine_label'; columns: img, label"),
    ],
)
def test_parquet_files_of_other_data_raise(
    tmp_path: Path, columns: dict[str, list[int]], side: int, message: str
) -> None:
    write_parquet(tmp_path, columns, side)
    with pytest.raises(DataError, match=re.escape(message)):
        data.load(DataSpec("mine", "cifar100", {"root": str(tmp_path)}))


def test_original_files_precede_parquet_files(tmp_path: Path, write_cifar: Callable[[str], np.ndarray]) -> None:
    pixels = write_cifar("cifar100")
    write_parquet(tmp_path, {"fine_label": [3, 98, 7]})
    found = data.load(DataSpec("mine", "cifar100", {"root": str(tmp_path)}))
    assert np.array_equal(found.train_images, pixels[: len(found.train_images)])


def test_real_cifar_100_images_are_read_from_parquet_files(shared: Path, tmp_path: Path) -> None:
    source = shared / "data" / "cifar-100"
    labels = np.load(source / "labels.npz")
    pixels = {}
    for part in ("train", "test"):
        strip = Image.open(min((source / part).glob("*.webp"))).convert("RGB")
        pixels[part] = np.asarray(strip).reshape(-1, 32, 32, 3)[:200]
        columns = {"fine_label": labels[f"{part}_y"][:200], "coarse_label": labels[f"{part}_coarse"][:200]}
        write_shard(tmp_path / f"{part}-00000-of-00001.parquet", pixels[part], columns)
    found = data.load(DataSpec("cifar100", "cifar100", {"root": str(tmp_path)}))
    assert np.array_equal(found.train_images.transpose(0, 2, 3, 1), pixels["train"])
    assert np.array_equal(found.test_images.transpose(0, 2, 3, 1), pixels["test"])
    assert np.array_equal(found.train_labels, labels["train_y"][:200])
    assert found.num_classes == 100
