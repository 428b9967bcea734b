"""A kind of data set; each module of this package defines one or more."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

from kdbench.data.dataset import Dataset
from kdbench.data.dataset_info import DatasetInfo
from kdbench.data.prepare import prepare
from kdbench.hyperparameters import Hyperparameter, declared

Archives = tuple[tuple[str, str], ...]  # path below the root, MD5


@final
@dataclass(frozen=True, kw_only=True)
class DatasetKind:
    """A known data set, or a file format for your own.

    Attributes:
        name: the value of `kind` in a matrix.
        load: reads the data set. Its keyword-only arguments are options; `root` is the path of the files.
        description: what it is, in one line.
        source: authors, venue, year, arXiv id or DOI.
        layout: what the option `root` must name.
        file_sets: the files of the data set, as glob patterns below `root`, for each of the layouts that `load` reads.
            Without any, the file or folder `root` itself.
        download: downloads the data set into the folder `root`, if that is possible.
        archives: if all of these are present, `download` unpacks them and needs no internet access.
        info: class sizes and image shape, if they are known without the files.
    """

    name: str
    load: Callable[..., Dataset]
    description: str
    source: str
    layout: str = ""
    file_sets: tuple[tuple[str, ...], ...] = ()
    download: Callable[[str], None] | None = None
    archives: Archives = ()
    info: DatasetInfo | None = None

    @property
    def options(self) -> Mapping[str, Hyperparameter]:
        """The options of this kind, then those of every kind: `samples`, `resize`, `grayscale`."""
        common = dict(declared(prepare))
        return {name: option for name, option in declared(self.load).items() if name not in common} | common

    def find_files(self, root: str) -> list[Path]:
        """Return the files below `root`, in the first layout that is complete; empty if none is."""
        if not self.file_sets:
            return [Path(root)] if Path(root).exists() else []
        for patterns in self.file_sets:
            found = [sorted(Path(root).glob(pattern)) for pattern in patterns]
            if all(found):
                return [path for paths in found for path in paths]
        return []

    def find_first_missing(self, root: str) -> Path:
        """Return the first path that the first layout lacks."""
        patterns = self.file_sets[0] if self.file_sets else ()
        return next((Path(root) / pattern for pattern in patterns if not any(Path(root).glob(pattern))), Path(root))
