"""One .npz file in the layout of MedMNIST."""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdbench.data.dataset import Dataset, Images, Labels, assemble
from kdbench.data.kind import DatasetKind
from kdbench.errors import DataError

LAYOUT = (
    "an .npz file with train_images, train_labels, test_images, test_labels and optionally val_images, val_labels; "
    "images uint8 (N, H, W) or (N, H, W, 3), labels integers from 0"
)

Part = tuple[Images, Labels]


def load_npz(*, root: str) -> Dataset:
    """Read the data set in the file `root`; validation images, if any, are training images.

    Raises:
        DataError: the file cannot be read, or has another layout.
    """
    path = Path(root).expanduser()
    arrays = _read(path)
    train, test = _get_part(path, arrays, "train"), _get_part(path, arrays, "test")
    if any(name.startswith("val_") for name in arrays):
        extra = _get_part(path, arrays, "val")
        _check_shapes(path, train, extra, "val")
        train = np.concatenate([train[0], extra[0]]), np.concatenate([train[1], extra[1]])
    _check_shapes(path, train, test, "test")
    return assemble(*train, *test, num_classes=_count_classes(path, train[1], test[1]))


NPZ = DatasetKind(
    name="npz",
    load=load_npz,
    description="one .npz file in the layout of MedMNIST",
    source="MedMNIST v2: Yang et al., Scientific Data 10, 2023, arXiv:2110.14795",
    layout=LAYOUT,
)


def _read(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with path.open("rb") as stream:
            file = np.load(stream, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise _error(path, "it contains a single array")
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise _error(path, f"cannot be read ({error})") from error


def _get_part(path: Path, arrays: dict[str, NDArray[Any]], part: str) -> Part:
    """Return the images (N, C, H, W) and the labels (N,) of a part."""
    for name in (f"{part}_images", f"{part}_labels"):
        if name not in arrays:
            raise _error(path, f"'{name}' is missing; found {', '.join(arrays) or 'nothing'}")
    images = _get_images(path, f"{part}_images", arrays[f"{part}_images"])
    labels = _get_labels(path, f"{part}_labels", arrays[f"{part}_labels"])
    if len(images) != len(labels):
        raise _error(path, f"{part}_images has {len(images)} images, but {part}_labels has {len(labels)} labels")
    return images, labels


def _get_images(path: Path, name: str, images: NDArray[Any]) -> Images:
    is_gray = images.ndim == 3
    if not (is_gray or (images.ndim == 4 and images.shape[3] == 3)) or images.size == 0:
        raise _error(path, f"'{name}' has shape {images.shape}")
    if images.dtype != np.uint8:
        raise _error(path, f"'{name}' has type {images.dtype}")
    return images[:, None] if is_gray else images.transpose(0, 3, 1, 2)


def _get_labels(path: Path, name: str, labels: NDArray[Any]) -> Labels:
    if not np.issubdtype(labels.dtype, np.integer):
        raise _error(path, f"'{name}' has type {labels.dtype}")
    if labels.shape not in {(labels.size,), (labels.size, 1)}:
        raise _error(path, f"'{name}' has shape {labels.shape}, but each image has one label")
    if labels.size and labels.min() < 0:
        raise _error(path, f"'{name}' contains the label {labels.min()}")
    return labels.reshape(-1).astype(np.int64)


def _count_classes(path: Path, train: Labels, test: Labels) -> int:
    """Return the number of classes, which are numbered from 0; each has a training image."""
    found = np.unique(train)
    if found.tolist() != list(range(len(found))):
        shown = ", ".join(map(str, found[:5])) + (", ..." if len(found) > 5 else "")
        raise _error(path, f"training labels must be 0 to {len(found) - 1} for {len(found)} classes, got {shown}")
    if test.max() >= len(found):
        raise _error(path, f"test label {test.max()} has no training image; training labels are 0 to {len(found) - 1}")
    return len(found)


def _check_shapes(path: Path, train: Part, other: Part, part: str) -> None:
    if train[0].shape[1:] != other[0].shape[1:]:
        raise _error(
            path, f"training images have shape (C, H, W) {train[0].shape[1:]}, but {part} images {other[0].shape[1:]}"
        )


def _error(path: Path, problem: str) -> DataError:
    return DataError(f"{path}: {problem}; required: {LAYOUT}")
