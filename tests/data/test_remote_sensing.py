import re
from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torchvision.datasets

from kdbench import data
from kdbench.data import DataSpec
from kdbench.errors import DataError

WriteImage = Callable[..., Path]
FOLDERS = {
    "eurosat": ("eurosat/2750", 10),
    "uc_merced": ("UCMerced_LandUse/Images", 21),
    "aid": ("AID", 30),
    "nwpu_resisc45": ("NWPU-RESISC45", 45),
}


def spec(kind: str, root: Path, **options: int | bool) -> DataSpec:
    return DataSpec(kind, kind, {"root": str(root), **options})


def write_classes(write_image: WriteImage, folder: str, classes: int) -> None:
    for label in range(classes):
        for number in range(5):
            write_image(f"{folder}/class{label:02d}/{number}.jpg", (label, label, label))


@pytest.mark.parametrize("kind", FOLDERS)
def test_the_folders_of_the_archive_are_read(write_image: WriteImage, tmp_path: Path, kind: str) -> None:
    folder, classes = FOLDERS[kind]
    write_classes(write_image, folder, classes)
    found = data.load(spec(kind, tmp_path, resize=2))
    assert (found.num_classes, found.train_images.shape) == (classes, (4 * classes, 3, 2, 2))
    assert sorted(found.test_labels.tolist()) == list(range(classes))


@pytest.mark.parametrize("kind", FOLDERS)
def test_folders_of_another_data_set_raise(write_image: WriteImage, tmp_path: Path, kind: str) -> None:
    folder, classes = FOLDERS[kind]
    write_classes(write_image, folder, classes - 1)
    message = f"{tmp_path / folder}: {kind} has {classes} classes, found {classes - 1} class folders; required: "
    with pytest.raises(DataError, match=re.escape(message)):
        data.load(spec(kind, tmp_path))


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_file_instead_of_the_folder_raises(tmp_path: Path, kind: str) -> None:
    path = tmp_path / FOLDERS[kind][0]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    with pytest.raises(DataError, match=re.escape(f"{path}: not a folder; required: a folder with ")):
        data.load(spec(kind, tmp_path, resize=2))


@pytest.mark.parametrize("kind", ["uc_merced", "aid", "nwpu_resisc45"])
def test_missing_data_that_cannot_be_downloaded_raise(tmp_path: Path, kind: str) -> None:
    message = f"{tmp_path / FOLDERS[kind][0]} does not exist; 'root' must name a folder with {FOLDERS[kind][0]}/"
    with pytest.raises(DataError, match=re.escape(message)) as raised:
        data.check(spec(kind, tmp_path))
    assert "class folders of " in str(raised.value)


def test_missing_data_are_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(url: str, **options: object) -> None:
        raise URLError("no route to host")

    monkeypatch.setattr(torchvision.datasets.eurosat, "download_and_extract_archive", fail)
    data.check(spec("eurosat", tmp_path))
    with pytest.raises(DataError, match=r"EuroSAT can be neither read nor downloaded .*no route to host.*EuroSAT/2750"):
        data.load(spec("eurosat", tmp_path))


def test_real_eurosat(unpack: Callable[[str], Path]) -> None:
    found = data.load(spec("eurosat", unpack("eurosat-subset"), samples=200, resize=16, grayscale=True))
    assert (found.train_images.shape, found.test_images.shape) == ((200, 1, 16, 16), (700, 1, 16, 16))


@pytest.mark.slow
def test_real_uc_merced_requires_resize(unpack: Callable[[str], Path]) -> None:
    root = unpack("uc-merced")
    with pytest.raises(DataError, match="set the option resize"):
        data.load(spec("uc_merced", root))
    found = data.load(spec("uc_merced", root, resize=32))
    assert (found.train_images.shape, found.test_images.shape) == ((1680, 3, 32, 32), (420, 3, 32, 32))
    assert np.bincount(found.test_labels).tolist() == [20] * 21
