"""A data set in Parquet files, in the layout of Hugging Face."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np

from kdbench.data.dataset import DataSet, Labels, assemble
from kdbench.data.images import Encoded, Side, decoded
from kdbench.errors import DataError

DESCRIPTION = "Parquet files in the layout of Hugging Face"
SOURCE = "your own"
LAYOUT = (
    "a folder with train-*.parquet and test-*.parquet, perhaps below data/; a column of images, encoded, as "
    "struct<bytes, path>, and a column of labels, integers from 0; the options image and label name the columns"
)

ROWS = 256  # images in memory at a time, still encoded


def parquet(
    *, root: str, image: str = "image", label: str = "label", resize: Side = None, grayscale: bool = False
) -> DataSet:
    """The data set of the folder `root`; a file is read after the other in the order of their names.

    An image without bytes is the file that its path names, counted from the Parquet file's folder.

    Raises:
        DataError: a file cannot be read or does not have the layout, or an image cannot be read.
    """
    train, test = (Rows(_shards(Path(root), part), image, label) for part in ("train", "test"))
    labels = train.labels, test.labels
    train_images, test_images = decoded([train, test], resize=resize, grayscale=grayscale)
    classes = int(max(labels[0].max(), labels[1].max())) + 1
    return assemble(train_images, labels[0], test_images, labels[1], num_classes=classes)


@final
@dataclass(frozen=True)
class Rows:
    """The images of some files, read from the disk as they are gone through."""

    files: tuple[Path, ...]
    image: str
    label: str

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[Encoded]:
        for file in self.files:
            place = 0
            for batch in self._batches(file):
                for value in batch.column(0).to_pylist():
                    yield self._encoded(file, place, value)
                    place += 1

    @cached_property
    def labels(self) -> Labels:
        """The labels (N,) of all files."""
        return np.concatenate([self._labels(file) for file in self.files])

    def _labels(self, file: Path) -> Labels:
        import pyarrow as pa

        with _reading(file), _opened(file) as source:
            names = source.schema_arrow.names
            column = source.read([self.label]).column(0) if self.label in names else None
        for option, name in (("image", self.image), ("label", self.label)):
            if name not in names:
                raise _bad(file, f"there is no column '{name}', but {', '.join(names)}; give the option {option}")
        if column is None or not pa.types.is_integer(column.type) or column.null_count:
            raise _bad(file, f"the column '{self.label}' does not hold an integer in every row")
        labels: Labels = column.to_numpy().astype(np.int64)
        if not labels.size or labels.min() < 0:
            raise _bad(file, f"the column '{self.label}' has {'a label below 0' if labels.size else 'no row'}")
        return labels

    def _batches(self, file: Path) -> Iterator[Any]:
        with _reading(file), _opened(file) as source:
            yield from source.iter_batches(ROWS, columns=[self.image])

    def _encoded(self, file: Path, place: int, value: object) -> Encoded:
        name = f"{file}: row {place}, column '{self.image}'"
        if isinstance(value, bytes):
            return Encoded(name, value)
        content = value if isinstance(value, dict) else {}
        if isinstance(content.get("bytes"), bytes):
            return Encoded(name, content["bytes"])
        if isinstance(content.get("path"), str):
            return Encoded(name, file.parent / content["path"])
        raise _bad(file, f"row {place} of the column '{self.image}' has neither the bytes of an image nor its path")


def _shards(root: Path, part: str) -> tuple[Path, ...]:
    found = sorted(root.glob(f"{part}-*.parquet")) or sorted((root / "data").glob(f"{part}-*.parquet"))
    if not found:
        raise _bad(root, f"there is no {part}-*.parquet")
    return tuple(found)


def _opened(file: Path) -> Any:
    import pyarrow.parquet as pq

    return pq.ParquetFile(file)


@contextmanager
def _reading(file: Path) -> Iterator[None]:
    """Names the file in an error of pyarrow."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise _bad(file, f"it cannot be read ({error})") from error


def _bad(path: Path, problem: str) -> DataError:
    return DataError(f"{path}: {problem}; needed: {LAYOUT}")
