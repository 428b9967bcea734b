"""The results folder: runs, indexes of matrices, Parquet tables, provenance. Nothing here imports torch."""

from kdbench.results.index import ExcludedCell, IncompatibleCell, IndexCell, MatrixIndex, Training
from kdbench.results.store import State, Store

__all__ = [
    "ExcludedCell",
    "IncompatibleCell",
    "IndexCell",
    "MatrixIndex",
    "State",
    "Store",
    "Training",
    "load_indexes",
    "load_results",
]


def __getattr__(name: str) -> object:
    """Import `load_results` when it is first used, because it needs pyarrow and pandas."""
    if name == "load_results":
        from kdbench.results.table import load_results

        return load_results
    raise AttributeError(name)


def load_indexes(root: str) -> tuple[MatrixIndex, ...]:
    """Return the cells and runs of every matrix of a results folder, sorted by name.

    Raises:
        ResultsError: the folder is missing, or a newer kdbench wrote it.
    """
    return tuple(Store(root, create=False).indexes())
