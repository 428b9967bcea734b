"""Image files in folders: one folder per class."""

from itertools import chain
from pathlib import Path

import numpy as np

from kdbench.data.dataset import Dataset, Labels, assemble
from kdbench.data.images import EncodedImage, Side, decode
from kdbench.data.kind import DatasetKind
from kdbench.data.splits import hold_out_test
from kdbench.errors import DataError

LAYOUT = (
    "a folder with one folder per class, or with train/, test/ and optionally val/ that contain one folder per class; "
    "images as .jpg, .jpeg, .png, .webp, .tif, .tiff, .bmp, .gif, .ppm or .pgm"
)

PARTS = ("train", "val", "test")
MISNAMED_PARTS = ("training", "valid", "validation", "dev", "testing")  # if there are only such folders: no classes
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".ppm", ".pgm"}

Files = tuple[list[Path], Labels]


def load_folder(*, root: str, resize: Side = None, grayscale: bool = False) -> Dataset:
    """Read the data set in the folder `root`; classes are numbered in alphabetical order.

    Images in val/ are training images. Without train/ and test/ a stratified fifth of the images is the test set.

    Raises:
        DataError: the folder has another layout, or an image cannot be read.
    """
    path = Path(root)
    names = _folders(path)
    has_parts = {"train", "test"} <= set(names) or (names and set(names) <= {*PARTS, *MISNAMED_PARTS})
    classes = _folders(path / "train") if has_parts else names
    train, test = _find_parts(path, names, classes) if has_parts else _split_files(path, classes)
    encoded = [[EncodedImage(str(file), file) for file in files] for files, _ in (train, test)]
    train_images, test_images = decode(encoded, resize=resize, grayscale=grayscale)
    return assemble(train_images, train[1], test_images, test[1], num_classes=len(classes))


FOLDER = DatasetKind(
    name="folder",
    load=load_folder,
    description="image files, one folder per class, optionally below train/, val/ and test/",
    source="your own files",
    layout=LAYOUT,
)


def _find_parts(path: Path, names: list[str], classes: list[str]) -> tuple[Files, Files]:
    """Return the training and the test files of a folder with parts."""
    unknown = [name for name in names if name not in PARTS]
    missing = [name for name in ("train", "test") if name not in names]
    if unknown or missing:
        raise _error(path, f"the folder '{missing[0]}' is missing" if missing else f"unknown folder '{unknown[0]}'")
    for part in names:
        other = set(_folders(path / part)) - set(classes)
        if other:
            raise _error(path / part, f"the class '{min(other)}' is missing in train")
    train = _find_files(path, [part for part in ("train", "val") if part in names], classes)
    _check_classes(path / "train", classes, train[1])
    return train, _find_files(path, ["test"], classes)


def _split_files(path: Path, classes: list[str]) -> tuple[Files, Files]:
    """Hold out a fifth of the files of each class for the test."""
    files, labels = _find_files(path, [""], classes)
    if len(classes) == 1:
        raise _error(path, f"there is only one class, '{classes[0]}'; set 'root' to a subfolder")
    _check_classes(path, classes, labels)
    try:
        train, test = hold_out_test(labels)
    except DataError as error:
        raise _error(path, str(error)) from None
    return ([files[i] for i in train], labels[train]), ([files[i] for i in test], labels[test])


def _check_classes(path: Path, classes: list[str], labels: Labels) -> None:
    """Check that every class has a training image."""
    empty = set(range(len(classes))) - set(labels.tolist())
    if empty:
        raise _error(path, f"the class '{classes[min(empty)]}' has no image")


def _find_files(path: Path, parts: list[str], classes: list[str]) -> Files:
    """Return the image files of these parts, by class and name, with their labels (N,)."""
    groups = [_image_files(path / part / name) for part in parts for name in classes]
    labels = np.repeat(np.tile(np.arange(len(classes)), len(parts)), [len(group) for group in groups])
    if not len(labels):
        raise _error(path / parts[0], "no image found")
    return list(chain.from_iterable(groups)), labels


def _image_files(path: Path) -> list[Path]:
    found = (file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and not file.name.startswith("."))
    return sorted(file for file in found if file.is_file())


def _folders(path: Path) -> list[str]:
    """Return the sorted names of the folders in a folder."""
    if not path.is_dir():
        return []
    return sorted(entry.name for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _error(path: Path, problem: str) -> DataError:
    return DataError(f"{path}: {problem}; required: {LAYOUT}")
