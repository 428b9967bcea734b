import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kdbench import data
from kdbench.data import DataSpec
from kdbench.data.folder import load_folder
from kdbench.data.moments import channel_moments
from kdbench.errors import DataError

WriteImage = Callable[..., Path]


def test_folders_define_parts_and_classes(write_image: WriteImage, tmp_path: Path) -> None:
    for value, name in enumerate(["train/b/1", "train/a/2", "train/a/1", "val/b/0", "test/b/9", "test/b/sub/1"]):
        write_image(f"set/{name}.png", value, mode="L")
    found = load_folder(root=str(tmp_path / "set"))
    assert found.train_images[:, 0, 0, 0].tolist() == [2, 1, 0, 3]
    assert found.train_labels.tolist() == [0, 0, 1, 1]
    assert found.test_images[:, 0, 0, 0].tolist() == [4, 5]
    assert (found.test_labels.tolist(), found.num_classes) == ([1, 1], 2)


def test_without_parts_a_fifth_of_each_class_is_the_test_set(write_image: WriteImage, tmp_path: Path) -> None:
    counts = {"bus": 5, "car": 10, "train": 15}
    for value, (name, count) in enumerate(counts.items()):
        for number in range(count):
            write_image(f"set/{name}/{number}.png", 50 * value + number, mode="L")
    found = load_folder(root=str(tmp_path / "set"))
    assert np.bincount(found.test_labels).tolist() == [1, 2, 3]
    values = np.concatenate([found.train_images, found.test_images])[:, 0, 0, 0]
    assert sorted(values.tolist()) == sorted(50 * c + i for c, n in enumerate(counts.values()) for i in range(n))
    assert (found.train_images[:, 0, 0, 0] // 50 == found.train_labels).all()
    assert load_folder(root=str(tmp_path / "set")).fingerprint == found.fingerprint


def test_other_files_are_ignored(write_image: WriteImage, tmp_path: Path) -> None:
    for name in ("train/a/1.png", "train/a/._1.png", "train/.thumbnails/1.png", "test/a/1.JPG"):
        write_image(f"set/{name}")
    (tmp_path / "set/train/a/Thumbs.db").touch()
    (tmp_path / "set/readme.txt").touch()
    found = load_folder(root=str(tmp_path / "set"))
    assert (len(found.train_images), len(found.test_images), found.num_classes) == (1, 1, 1)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "set: no image found"),
        (["1.png"], "set: no image found"),
        (["train/a/1.png", "val/a/1.png"], "set: the folder 'test' is missing"),
        (["test/a/1.png"], "set: the folder 'train' is missing"),
        (["train/a/1.png", "test/a/1.png", "valid/a/1.png"], "set: unknown folder 'valid'"),
        (["train/a/1.png", "test/b/1.png"], "set/test: the class 'b' is missing in train"),
        (["train/a/1.png", "test/a/1.txt"], "set/test: no image found"),
        (
            ["Images/a/1.png", "Images/b/1.png"],
            "set: there is only one class, 'Images'; set 'root' to a subfolder",
        ),
        (["train/a/1.png", "valid/a/1.png"], "set: the folder 'test' is missing"),
        (["training/a/1.png", "testing/a/1.png"], "set: the folder 'train' is missing"),
        (["a/1.png", "a/2.png", "b/1.txt"], "set: the class 'b' has no image"),
        (["train/a/1.png", "train/b/1.txt", "test/a/1.png"], "set/train: the class 'b' has no image"),
        (["a/1.png", "b/1.png", "b/2.png"], "set: a fifth of each class cannot be held out for the test"),
    ],
)
def test_a_folder_with_another_layout_raises(
    write_image: WriteImage, tmp_path: Path, names: list[str], message: str
) -> None:
    (tmp_path / "set").mkdir()
    for name in names:
        write_image(f"set/{name.replace('.txt', '.png')}").rename(tmp_path / "set" / name)
    with pytest.raises(DataError, match=re.escape(message)) as raised:
        load_folder(root=str(tmp_path / "set"))
    assert "required: a folder with one folder per class, or with train/" in str(raised.value)


def test_common_options_apply_and_a_new_image_is_read(write_image: WriteImage, tmp_path: Path) -> None:
    for number in range(10):
        write_image(f"set/{'ab'[number % 2]}/{number}.png", (number, 0, 0), size=(9, number + 3))
    spec = DataSpec("mine", "folder", {"root": str(tmp_path / "set"), "resize": 5, "grayscale": True, "samples": 6})
    before = data.load(spec)
    assert (before.train_images.shape, before.test_images.shape) == ((6, 1, 5, 5), (2, 1, 5, 5))
    write_image("set/a/new.png", (255, 255, 255))
    assert data.get_fingerprint(spec) != before.fingerprint


def test_a_new_image_below_a_linked_folder_is_read(write_image: WriteImage, tmp_path: Path) -> None:
    for name in "ab":
        for number in range(5):
            write_image(f"elsewhere/{name}/{number}.png", number, mode="L")
        (tmp_path / "set").mkdir(exist_ok=True)
        (tmp_path / "set" / name).symlink_to(tmp_path / "elsewhere" / name)
    spec = DataSpec("mine", "folder", {"root": str(tmp_path / "set")})
    before = data.load(spec)
    assert (len(before.train_images), len(before.test_images)) == (8, 2)
    write_image("elsewhere/a/new.png", 255, mode="L")
    assert data.get_fingerprint(spec) != before.fingerprint


@pytest.mark.slow
def test_real_eurosat_images(unpack: Callable[[str], Path]) -> None:
    root = unpack("eurosat-subset") / "EuroSAT" / "2750"
    found = load_folder(root=str(root))
    assert (found.train_images.shape, found.test_images.shape) == ((2800, 3, 64, 64), (700, 3, 64, 64))
    assert np.bincount(found.test_labels).tolist() == [70] * 10
    mean = channel_moments(found.train_images, np.arange(2800)).mean
    np.testing.assert_allclose(mean, (0.3444, 0.3803, 0.4078), atol=0.005)
    first = np.asarray(Image.open(min((root / "AnnualCrop").iterdir()))).transpose(2, 0, 1)
    assert any(np.array_equal(first, image) for image in [*found.train_images, *found.test_images])
