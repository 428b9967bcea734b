"""Known data sets with an official split: read by torchvision, which also downloads them, or from Parquet files."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import numpy as np

from kdbench.data.dataset import Dataset, Images, Labels, assemble
from kdbench.data.dataset_info import DatasetInfo
from kdbench.data.kind import Archives, DatasetKind
from kdbench.data.parquet import load_parquet
from kdbench.errors import DataError


@final
@dataclass(frozen=True)
class Original:
    """The original files of a data set.

    Attributes:
        reader: the name of the class of torchvision that reads and downloads them.
        files: their paths below the root.
        archives: what is downloaded and unpacked.
        layout: what the option `root` must name.
        label: the column of the labels in the Parquet files of Hugging Face.
    """

    reader: str
    files: tuple[str, ...]
    archives: Archives
    layout: str
    label: str = "label"


def idx_files(reader: str, archives: Mapping[str, str]) -> Original:
    """Return the files of MNIST's format in the folder `reader`/raw; `archives` has the MD5 of each .gz."""
    folder = f"{reader}/raw"
    return Original(
        reader,
        tuple(f"{folder}/{name.removesuffix('.gz')}" for name in archives),
        tuple((f"{folder}/{name}", md5) for name, md5 in archives.items()),
        f"a folder with {folder}/ that contains {', '.join(archives)} (packed or unpacked)",
    )


def pickle_files(reader: str, paths: tuple[str, ...], archive: str, md5: str, label: str) -> Original:
    """Return the files of CIFAR's format, unpacked from `archive`."""
    folder = paths[0].partition("/")[0]
    layout = f"a folder with {folder}/ that contains the files of {archive}, or with that archive"
    return Original(reader, paths, ((archive, md5),), layout, label)


def make_kind(name: str, original: Original, *, description: str, source: str, info: DatasetInfo) -> DatasetKind:
    """Return the kind that reads the original files or, if these are missing, the Parquet files of Hugging Face.

    The Parquet files are in the root, or in its folder data/ or `name`/.
    """
    layout = (
        f"{original.layout}, or with Hugging Face's train-*.parquet and test-*.parquet (in it, in data/ or in {name}/)"
    )

    def load(*, root: str = "data") -> Dataset:
        shards = [file for file in kind.find_files(root) if file.suffix == ".parquet"]
        if shards:
            return _check(load_parquet(root=str(shards[0].parent), label=original.label), shards[0].parent, info)
        parts = [downloaded(original.reader, root, layout, download=False, train=train) for train in (True, False)]
        train, test = map(_to_arrays, parts)
        return assemble(*train, *test, num_classes=info.num_classes)

    def download(root: str) -> None:
        downloaded(original.reader, root, layout, download=True)

    parquet_files = ((f"{folder}train-*.parquet", f"{folder}test-*.parquet") for folder in ("", "data/", f"{name}/"))
    kind = DatasetKind(
        name=name,
        load=load,
        description=description,
        source=source,
        layout=layout,
        file_sets=(original.files, *parquet_files),
        download=download,
        archives=original.archives,
        info=info,
    )
    return kind


def downloaded(reader: str, root: str, layout: str, *, download: bool, **options: Any) -> Any:
    """Return the data set in the folder `root` as an object of the class `reader` of torchvision.

    With `download`, its archives are downloaded and unpacked if necessary.

    Raises:
        DataError: the data set is missing and cannot be downloaded, or a file is corrupted.
    """
    import torchvision.datasets

    try:
        return getattr(torchvision.datasets, reader)(root, download=download, **options)
    except MemoryError:
        raise
    except Exception as error:  # torchvision raises various exceptions for corrupted files
        reason = " ".join((str(error) or type(error).__name__).split())
        failed = "can be neither read nor downloaded" if download else "cannot be read"
        remedy = "connect to the internet, or provide the files" if download else "replace the corrupted files"
        raise DataError(f"{root}: {reader} {failed} ({reason}); required: {layout}; {remedy}") from error


def _check(data: Dataset, folder: Path, info: DatasetInfo) -> Dataset:
    """Return the data set with the known number of classes, if its images and labels fit."""
    largest = int(max(data.train_labels.max(), data.test_labels.max()))
    if data.image_shape != info.image_shape or largest >= info.num_classes:
        raise DataError(
            f"{folder}: the Parquet files contain images (C, H, W) of {data.image_shape} with labels up to {largest}; "
            f"required: {info.image_shape} with labels up to {info.num_classes - 1}; for another data set "
            "set kind = 'parquet'"
        )
    return replace(data, num_classes=info.num_classes)


def _to_arrays(part: Any) -> tuple[Images, Labels]:
    """Return images (N, C, H, W) and labels (N,) of torchvision's (N, H, W) or (N, H, W, C)."""
    images = np.asarray(part.data)
    return images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2), np.asarray(part.targets)
