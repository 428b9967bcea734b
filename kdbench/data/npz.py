"""A data set in one .npz file, in the layout of MedMNIST."""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdbench.data.dataset import DataSet, Images, Labels, assemble
from kdbench.errors import DataError

DESCRIPTION = "one .npz file in the layout of MedMNIST"
SOURCE = "MedMNIST v2: Yang et al., Scientific Data 2023, arXiv:2110.14795"
LAYOUT = (
    "an .npz file with train_images, train_labels, test_images, test_labels and perhaps val_images, val_labels; "
    "images uint8 (N, H, W) or (N, H, W, 3), labels integers from 0"
)

Part = tuple[Images, Labels]


def npz(*, root: str) -> DataSet:
    """The data set of the file `root`; its val_ images, if any, are training images.

    Raises:
        DataError: the file cannot be read, or does not have the layout.
    """
    path = Path(root).expanduser()
    arrays = _read(path)
    train, test = _part(path, arrays, "train"), _part(path, arrays, "test")
    if any(name.startswith("val_") for name in arrays):
        extra = _part(path, arrays, "val")
        _same_shape(path, train, extra, "val")
        train = np.concatenate([train[0], extra[0]]), np.concatenate([train[1], extra[1]])
    _same_shape(path, train, test, "test")
    return assemble(*train, *test, num_classes=int(max(train[1].max(), test[1].max())) + 1)


def _read(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with path.open("rb") as content:  # numpy leaves a file open that it cannot read
            file = np.load(content, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise _bad(path, "it holds a single array")
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise _bad(path, f"it cannot be read ({error})") from error


def _part(path: Path, arrays: dict[str, NDArray[Any]], part: str) -> Part:
    """Images (N, C, H, W) and labels (N,) of a part."""
    for name in (f"{part}_images", f"{part}_labels"):
        if name not in arrays:
            raise _bad(path, f"'{name}' is missing; it holds {', '.join(arrays) or 'nothing'}")
    images = _images(path, f"{part}_images", arrays[f"{part}_images"])
    labels = _labels(path, f"{part}_labels", arrays[f"{part}_labels"])
    if len(images) != len(labels):
        raise _bad(path, f"{part}_images has {len(images)} images and {part}_labels {len(labels)} labels")
    return images, labels


def _images(path: Path, name: str, images: NDArray[Any]) -> Images:
    gray = images.ndim == 3
    if not (gray or (images.ndim == 4 and images.shape[3] == 3)) or images.size == 0:
        raise _bad(path, f"'{name}' has the shape {images.shape}")
    if images.dtype != np.uint8:
        raise _bad(path, f"'{name}' has the type {images.dtype}")
    return images[:, None] if gray else images.transpose(0, 3, 1, 2)


def _labels(path: Path, name: str, labels: NDArray[Any]) -> Labels:
    if not np.issubdtype(labels.dtype, np.integer):
        raise _bad(path, f"'{name}' has the type {labels.dtype}")
    if labels.shape not in {(labels.size,), (labels.size, 1)}:
        raise _bad(path, f"'{name}' has the shape {labels.shape}, and an image has one label")
    if labels.size and labels.min() < 0:
        raise _bad(path, f"'{name}' has the label {labels.min()}")
    return labels.reshape(-1).astype(np.int64)


def _same_shape(path: Path, train: Part, other: Part, part: str) -> None:
    if train[0].shape[1:] != other[0].shape[1:]:
        raise _bad(path, f"images are {train[0].shape[1:]} (C, H, W) in train and {other[0].shape[1:]} in {part}")


def _bad(path: Path, problem: str) -> DataError:
    return DataError(f"{path}: {problem}; needed: {LAYOUT}")
