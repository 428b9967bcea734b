import hashlib
import io
import json
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
from kdbench.data.parquet import ROWS, load_parquet
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
    found = load_parquet(root=str(root))
    assert found.train_images.shape == (4, 1, 2, 3)
    assert found.train_images[:, 0, 0, 0].tolist() == [10, 11, 12, 13]
    assert found.train_labels.tolist() == [0, 2, 1, 1]
    assert (found.test_images[:, 0, 1, 2].tolist(), found.test_labels.tolist()) == ([20, 21], [0, 3])
    assert found.num_classes == 4


def test_the_files_may_be_below_data(root: Path, tmp_path: Path) -> None:
    expected = load_parquet(root=str(root)).fingerprint
    root.rename(tmp_path / "data")
    assert load_parquet(root=str(tmp_path)).fingerprint == expected


def test_images_may_be_bytes_or_paths_and_are_read_in_chunks(root: Path) -> None:
    write(root / "train-00000-of-00002.parquet", [png(i % 200) for i in range(ROWS + 2)], [0] * (ROWS + 2))
    (root / "image.png").write_bytes(png(77))
    write(root / "train-00001-of-00002.parquet", [{"bytes": None, "path": "image.png"}], [1])
    values = load_parquet(root=str(root)).train_images[:, 0, 0, 0].tolist()
    assert values == [*(i % 200 for i in range(ROWS + 2)), 77]


@pytest.mark.parametrize(
    ("images", "labels", "options", "message"),
    [
        (rows(1), [-1], {}, "the column 'label' contains the label -1"),
        (rows(1, 2), [1, None], {}, "the column 'label' must contain an integer in every row"),
        (rows(1), ["cat"], {"label": "label"}, "the column 'label' must contain an integer in every row"),
        (
            rows(1),
            ["cat"],
            {},
            "no column of integer labels was recognized among: image, label; set the option 'label'",
        ),
        (rows(1), [0], {"image": "img"}, "there is no column 'img'; columns: image, label; set the option 'image'"),
        (rows(1), [0], {"label": "fine"}, "there is no column 'fine'; columns: image, label; set the option 'label'"),
        ([{"bytes": png(1)}, None], [0, 0], {}, "row 1 of the column 'image' has neither bytes nor a path"),
        ([b"no image"], [0], {}, "row 0, column 'image': the image cannot be read (unknown image format)"),
        ([png(1), png(2)[:-30]], [0, 0], {}, "row 1, column 'image': the image cannot be read ("),
    ],
)
def test_a_file_with_another_layout_raises_with_its_path(
    root: Path, images: list[Any], labels: list[Any], options: dict[str, str], message: str
) -> None:
    file = write(root / "train-00000-of-00002.parquet", images, labels)
    with pytest.raises(DataError, match=re.escape(f"{file}: {message}")):
        load_parquet(root=str(root), **options)


@pytest.mark.parametrize("part", ["train", "test"])
def test_both_parts_are_required(root: Path, part: str) -> None:
    for file in root.glob(f"{part}-*"):
        file.unlink()
    with pytest.raises(DataError, match=re.escape(f"{root}: no {part}-*.parquet found; required: a folder with")):
        load_parquet(root=str(root))


@pytest.mark.parametrize("keep", [0, 50, -20])
def test_a_corrupted_file_raises_with_its_path(root: Path, keep: int) -> None:
    file = root / "train-00001-of-00002.parquet"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(DataError, match=re.escape(f"{file}: cannot be read (")):
        load_parquet(root=str(root))


def test_corruption_in_the_middle_raises_with_the_path(root: Path) -> None:
    file = write(root / "train-00001-of-00002.parquet", rows(*range(100)), [0] * 100)
    content = bytearray(file.read_bytes())
    content[4:400] = b"\xff" * 396
    file.write_bytes(content)
    with pytest.raises(DataError, match=re.escape(f"{file}: ")):
        load_parquet(root=str(root))


def test_a_missing_file_of_a_part_raises(root: Path) -> None:
    (root / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(DataError, match=re.escape(f"{root}: 1 of 2 files train-*-of-00002.parquet found; required: ")):
        load_parquet(root=str(root))


def test_the_columns_are_found_and_class_names_are_counted(tmp_path: Path) -> None:
    for part, labels in (("train", [0, 1]), ("test", [1, 0])):
        features = {"species": {"names": ["cat", "dog", "fox"], "_type": "ClassLabel"}}
        metadata = {"huggingface": json.dumps({"info": {"features": features}})}
        table = pa.table({"id": [7, 8], "picture": rows(10, 11), "species": labels})
        pq.write_table(table.replace_schema_metadata(metadata), tmp_path / f"{part}-00000-of-00001.parquet")
    found = data.load(DataSpec("mine", "parquet", {"root": str(tmp_path)}))
    assert (found.train_labels.tolist(), found.test_labels.tolist(), found.num_classes) == ([0, 1], [1, 0], 3)
    assert found.train_images[:, 0, 0, 0].tolist() == [10, 11]


def test_columns_that_are_not_unique_raise_with_the_file(tmp_path: Path) -> None:
    for part in ("train", "test"):
        table = pa.table({"front": rows(1), "back": rows(2), "label": [0]})
        pq.write_table(table, tmp_path / f"{part}-00000-of-00001.parquet")
    file = tmp_path / "train-00000-of-00001.parquet"
    with pytest.raises(
        DataError, match=re.escape(f"{file}: several columns may contain the encoded images: front, back")
    ):
        data.load(DataSpec("mine", "parquet", {"root": str(tmp_path)}))
    assert data.load(DataSpec("mine", "parquet", {"root": str(tmp_path), "image": "back"})).train_images.max() == 2


def test_the_column_of_images_must_be_in_every_file(root: Path) -> None:
    file = root / "test-00000-of-00001.parquet"
    pq.write_table(pa.table({"img": rows(1), "label": [0]}), file)
    with pytest.raises(DataError, match=re.escape(f"{file}: there is no column 'image'; columns: img, label")):
        load_parquet(root=str(root))


@pytest.mark.slow
def test_real_images_are_the_published_ones(unpack: Callable[[str], Path]) -> None:
    root = unpack("cifar10-subset") / "cifar10-subset"
    found = data.load(DataSpec("cifar", "parquet", {"root": str(root)}))
    assert (found.train_images.shape, found.num_classes) == ((10_000, 3, 32, 32), 10)
    assert np.bincount(found.train_labels).tolist() == [1005, 974, 1032, 1016, 999, 937, 1030, 1001, 1025, 981]
    pixels = np.ascontiguousarray(found.test_images.transpose(0, 2, 3, 1))
    published = "4946cb5ae9a2c68e6ca2da22e50da3b523358fd85ffaccfe834632e039845928"
    assert hashlib.sha256(pixels.data).hexdigest() == published
