"""The store: run folders, what a matrix asked for, Parquet, provenance. Nothing here imports torch."""

from kdbench.results.index import ExcludedCell, IncompatibleCell, IndexCell, MatrixIndex
from kdbench.results.store import State, Store

__all__ = [
    "ExcludedCell",
    "IncompatibleCell",
    "IndexCell",
    "MatrixIndex",
    "State",
    "Store",
    "load_indexes",
    "load_results",
]


def __getattr__(name: str) -> object:
    """`load_results` needs pyarrow and pandas, which load only when it is named."""
    if name == "load_results":
        from kdbench.results.table import load_results

        return load_results
    raise AttributeError(name)


def load_indexes(root: str) -> tuple[MatrixIndex, ...]:
    """What every matrix of a results folder asked for, by name.

    Raises:
        ResultsError: there is no such folder, or a newer kdbench wrote it.
    """
    return tuple(Store(root, create=False).indexes())
