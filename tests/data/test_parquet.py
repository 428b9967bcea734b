import hashlib
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from kdbench import data
from kdbench.data import DataSpec
from kdbench.data.parquet import ROWS, parquet
from kdbench.errors import DataError


def png(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (3, 2), value).save(buffer, format="PNG")
    return buffer.getvalue()


def rows(*values: int) -> list[dict[str, Any]]:
    return [{"bytes": png(value), "path": None} for value in values]


def write(file: Path, images: list[Any], labels: list[Any]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": images, "label": labels}), file)
    return file


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with two files to train on and one to test on."""
    write(tmp_path / "set" / "train-00000-of-00002.parquet", rows(10, 11, 12), [0, 2, 1])
    write(tmp_path / "set" / "train-00001-of-00002.parquet", rows(13), [1])
    write(tmp_path / "set" / "test-00000-of-00001.parquet", rows(20, 21), [0, 3])
    return tmp_path / "set"


def test_files_are_read_in_order(root: Path) -> None:
    found = parquet(root=str(root))
    assert found.train_images.shape == (4, 1, 2, 3)
    assert found.train_images[:, 0, 0, 0].tolist() == [10, 11, 12, 13]
    assert found.train_labels.tolist() == [0, 2, 1, 1]
    assert (found.test_images[:, 0, 1, 2].tolist(), found.test_labels.tolist()) == ([20, 21], [0, 3])
    assert found.num_classes == 4


def test_the_files_may_lie_below_data(root: Path, tmp_path: Path) -> None:
    expected = parquet(root=str(root)).fingerprint
    root.rename(tmp_path / "data")
    assert parquet(root=str(tmp_path)).fingerprint == expected


def test_images_may_be_bare_bytes_or_paths_and_more_than_are_read_at_once(root: Path) -> None:
    write(root / "train-00000-of-00002.parquet", [png(i % 200) for i in range(ROWS + 2)], [0] * (ROWS + 2))
    (root / "there.png").write_bytes(png(77))
    write(root / "train-00001-of-00002.parquet", [{"bytes": None, "path": "there.png"}], [1])
    values = parquet(root=str(root)).train_images[:, 0, 0, 0].tolist()
    assert values == [*(i % 200 for i in range(ROWS + 2)), 77]


@pytest.mark.parametrize(
    ("images", "labels", "options", "message"),
    [
        ([], [], {}, "the column 'label' does not hold an integer in every row"),
        (rows(1), [None], {}, "the column 'label' does not hold an integer in every row"),
        (rows(1), ["cat"], {}, "the column 'label' does not hold an integer in every row"),
        (rows(1), [-1], {}, "the column 'label' has a label below 0"),
        (rows(1), [0], {"image": "img"}, "there is no column 'img', but image, label; give the option image"),
        (rows(1), [0], {"label": "fine"}, "there is no column 'fine', but image, label; give the option label"),
        ([{"bytes": png(1)}, None], [0, 0], {}, "row 1 of the column 'image' has neither the bytes of an image nor"),
        ([b"no image"], [0], {}, "row 0, column 'image': the image cannot be read (its format is not known)"),
        ([png(1), png(2)[:-30]], [0, 0], {}, "row 1, column 'image': the image cannot be read ("),
    ],
)
def test_a_file_without_the_layout_is_named(
    root: Path, images: list[Any], labels: list[Any], options: dict[str, str], message: str
) -> None:
    file = write(root / "train-00000-of-00002.parquet", images, labels)
    with pytest.raises(DataError, match=re.escape(f"{file}: {message}")):
        parquet(root=str(root), **options)


@pytest.mark.parametrize("part", ["train", "test"])
def test_both_parts_are_needed(root: Path, part: str) -> None:
    for file in root.glob(f"{part}-*"):
        file.unlink()
    with pytest.raises(DataError, match=re.escape(f"{root}: there is no {part}-*.parquet; needed: a folder with")):
        parquet(root=str(root))


@pytest.mark.parametrize("keep", [0, 50, -20])
def test_a_corrupted_file_is_named(root: Path, keep: int) -> None:
    file = root / "train-00001-of-00002.parquet"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(DataError, match=re.escape(f"{file}: it cannot be read (")):
        parquet(root=str(root))


def test_damage_in_the_middle_is_named(root: Path) -> None:
    file = write(root / "train-00001-of-00002.parquet", rows(*range(100)), [0] * 100)
    content = bytearray(file.read_bytes())
    content[4:400] = b"\xff" * 396
    file.write_bytes(content)
    with pytest.raises(DataError, match=re.escape(f"{file}: ")):
        parquet(root=str(root))


def test_real_images_are_the_published_ones(unpack: Callable[[str], Path]) -> None:
    root = unpack("cifar10-subset") / "cifar10-subset"
    found = data.load(DataSpec("cifar", "parquet", {"root": str(root), "image": "img"}))
    assert (found.train_images.shape, found.num_classes) == ((10_000, 3, 32, 32), 10)
    assert np.bincount(found.train_labels).tolist() == [1005, 974, 1032, 1016, 999, 937, 1030, 1001, 1025, 981]
    pixels = np.ascontiguousarray(found.test_images.transpose(0, 2, 3, 1))
    published = "4946cb5ae9a2c68e6ca2da22e50da3b523358fd85ffaccfe834632e039845928"
    assert hashlib.sha256(pixels.data).hexdigest() == published
