"""A data set in folders of image files: one folder a class."""

from itertools import chain
from pathlib import Path

import numpy as np

from kdbench.data.dataset import DataSet, Labels, assemble
from kdbench.data.images import Encoded, Side, decoded
from kdbench.data.splits import hold_out_test
from kdbench.errors import DataError

DESCRIPTION = "image files, one folder a class; perhaps below train, val and test"
SOURCE = "your own"
LAYOUT = (
    "a folder with one folder a class, or with train/, test/ and perhaps val/ that have one folder a class; "
    "images as .jpg, .jpeg, .png, .webp, .tif, .tiff, .bmp, .gif, .ppm or .pgm"
)

PARTS = ("train", "val", "test")
MISNAMED = ("training", "valid", "validation", "dev", "testing")  # folders of these names alone are no classes
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".ppm", ".pgm"}

Files = tuple[list[Path], Labels]


def folder(*, root: str, resize: Side = None, grayscale: bool = False) -> DataSet:
    """The data set of the folder `root`; classes are numbered in the order of their names.

    Images in val/ are training images. Without train/ and test/ a fifth of the images, stratified, is for the test.

    Raises:
        DataError: the folder does not have the layout, or an image cannot be read.
    """
    path = Path(root)
    names = _folders(path)
    official = {"train", "test"} <= set(names) or (names and set(names) <= {*PARTS, *MISNAMED})
    classes = _folders(path / "train") if official else names
    train, test = _official(path, names, classes) if official else _split(path, classes)
    parts = [[Encoded(str(file), file) for file in files] for files, _ in (train, test)]
    train_images, test_images = decoded(parts, resize=resize, grayscale=grayscale)
    return assemble(train_images, train[1], test_images, test[1], num_classes=len(classes))


def _official(path: Path, names: list[str], classes: list[str]) -> tuple[Files, Files]:
    """What trains and what tests, where the folders say so."""
    odd = [name for name in names if name not in PARTS]
    absent = [name for name in ("train", "test") if name not in names]
    if odd or absent:
        raise _bad(path, f"'{absent[0]}' is missing" if absent else f"beside train and test there is '{odd[0]}'")
    for part in names:
        strange = set(_folders(path / part)) - set(classes)
        if strange:
            raise _bad(path / part, f"the class '{min(strange)}' is not in train")
    train = _files(path, [part for part in ("train", "val") if part in names], classes)
    _refuse_empty(path / "train", classes, train[1])
    return train, _files(path, ["test"], classes)


def _split(path: Path, classes: list[str]) -> tuple[Files, Files]:
    """A fifth of each class for the test, before any image is opened."""
    files, labels = _files(path, [""], classes)
    if len(classes) == 1:
        raise _bad(path, f"it has one class alone, '{classes[0]}'; 'root' may be a folder too high")
    _refuse_empty(path, classes, labels)
    try:
        train, test = hold_out_test(labels)
    except DataError as error:
        raise _bad(path, str(error)) from None
    return ([files[i] for i in train], labels[train]), ([files[i] for i in test], labels[test])


def _refuse_empty(path: Path, classes: list[str], labels: Labels) -> None:
    """Every class needs an image to train on."""
    empty = set(range(len(classes))) - set(labels.tolist())
    if empty:
        raise _bad(path, f"the class '{classes[min(empty)]}' has no image")


def _files(path: Path, parts: list[str], classes: list[str]) -> Files:
    """The images of these parts, class by class, in the order of their names."""
    groups = [_images(path / part / name) for part in parts for name in classes]
    labels = np.repeat(np.tile(np.arange(len(classes)), len(parts)), [len(group) for group in groups])
    if not len(labels):
        raise _bad(path / parts[0], "it holds no image")
    return list(chain.from_iterable(groups)), labels


def _images(path: Path) -> list[Path]:
    found = (file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and not file.name.startswith("."))
    return sorted(file for file in found if file.is_file())


def _folders(path: Path) -> list[str]:
    """The names of the folders in a folder."""
    if not path.is_dir():
        return []
    return sorted(entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _bad(path: Path, problem: str) -> DataError:
    return DataError(f"{path}: {problem}; needed: {LAYOUT}")
