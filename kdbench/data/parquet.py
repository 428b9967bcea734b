"""Parquet files in the layout of Hugging Face."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np

from kdbench.data.dataset import Dataset, Labels, assemble
from kdbench.data.images import EncodedImage, Side, decode
from kdbench.data.kind import DatasetKind
from kdbench.data.parquet_columns import Columns, find_columns
from kdbench.errors import DataError

LAYOUT = (
    "a folder with train-*.parquet and test-*.parquet, directly or below data/; one column of encoded images (binary, "
    "or struct<bytes, path>) and one column of labels (integers from 0). The options image and label name the columns "
    "if more than one fits"
)

ROWS = 256  # encoded images in memory at a time


def load_parquet(
    *, root: str, image: str | None = None, label: str | None = None, resize: Side = None, grayscale: bool = False
) -> Dataset:
    """Read the data set in the folder `root`, its files in alphabetical order.

    Without `image` and `label`, `find_columns` finds the columns. An image without bytes is the file at its path,
    relative to the folder of the Parquet file. The number of classes is that of the class names in the metadata of
    Hugging Face, or else the largest label plus one.

    Raises:
        DataError: a file cannot be read or has another layout, more than one column fits, or an image cannot be read.
    """
    train_files, test_files = (_find_shards(Path(root), part) for part in ("train", "test"))
    columns = _find_columns(train_files[0], image, label)
    train, test = ParquetImages(train_files, columns), ParquetImages(test_files, columns)
    labels = train.labels, test.labels
    train_images, test_images = decode([train, test], resize=resize, grayscale=grayscale)
    num_classes = max(len(columns.class_names), *(int(part.max()) + 1 for part in labels))
    return assemble(train_images, labels[0], test_images, labels[1], num_classes=num_classes)


PARQUET = DatasetKind(
    name="parquet",
    load=load_parquet,
    description="Parquet files in the layout of Hugging Face",
    source="your own files",
    layout=LAYOUT,
)


@final
@dataclass(frozen=True)
class ParquetImages:
    """The images of some files, read from disk during iteration."""

    files: tuple[Path, ...]
    columns: Columns

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[EncodedImage]:
        for file in self.files:
            row = 0
            for batch in self._read_batches(file):
                for value in batch.column(0).to_pylist():
                    yield self._encoded_image(file, row, value)
                    row += 1

    @cached_property
    def labels(self) -> Labels:
        """The labels (N,) of all files."""
        return np.concatenate([self._read_labels(file) for file in self.files])

    def _read_labels(self, file: Path) -> Labels:
        import pyarrow as pa

        name = self.columns.label
        _find_columns(file, self.columns.image, name)
        with _name_in_errors(file), _open(file) as source:
            column = source.read([name]).column(0)
        if not pa.types.is_integer(column.type) or column.null_count:
            raise _error(file, f"the column '{name}' must contain an integer in every row")
        labels: Labels = column.to_numpy().astype(np.int64)
        if not labels.size:
            raise _error(file, "the file has no rows")
        if labels.min() < 0:
            raise _error(file, f"the column '{name}' contains the label {labels.min()}")
        return labels

    def _read_batches(self, file: Path) -> Iterator[Any]:
        with _name_in_errors(file), _open(file) as source:
            yield from source.iter_batches(ROWS, columns=[self.columns.image])

    def _encoded_image(self, file: Path, row: int, value: object) -> EncodedImage:
        name = f"{file}: row {row}, column '{self.columns.image}'"
        if isinstance(value, bytes):
            return EncodedImage(name, value)
        content = value if isinstance(value, dict) else {}
        if isinstance(content.get("bytes"), bytes):
            return EncodedImage(name, content["bytes"])
        if isinstance(content.get("path"), str):
            return EncodedImage(name, file.parent / content["path"])
        raise _error(file, f"row {row} of the column '{self.columns.image}' has neither bytes nor a path")


def _find_shards(root: Path, part: str) -> tuple[Path, ...]:
    """Return the files of a part; check that there are as many as their names state."""
    found = sorted(root.glob(f"{part}-*.parquet")) or sorted((root / "data").glob(f"{part}-*.parquet"))
    if not found:
        raise _error(root, f"no {part}-*.parquet found")
    counts = {match[1] for file in found if (match := re.search(r"-of-(\d+)\.parquet$", file.name))}
    if len(counts) == 1 and int(next(iter(counts))) != len(found):
        expected = int(counts.pop())
        raise _error(found[0].parent, f"{len(found)} of {expected} files {part}-*-of-{expected:05d}.parquet found")
    return tuple(found)


def _find_columns(file: Path, image: str | None, label: str | None) -> Columns:
    with _name_in_errors(file), _open(file) as source:
        schema = source.schema_arrow
    try:
        return find_columns(schema, image, label)
    except DataError as error:
        raise _error(file, str(error)) from None


def _open(file: Path) -> Any:
    import pyarrow.parquet as pq

    return pq.ParquetFile(file)


@contextmanager
def _name_in_errors(file: Path) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise _error(file, f"cannot be read ({error})") from error


def _error(path: Path, problem: str) -> DataError:
    return DataError(f"{path}: {problem}; required: {LAYOUT}")
