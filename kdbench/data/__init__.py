"""Data sets by kind: `DATASETS` is the table of contents. Nothing here needs torch."""

from kdbench.data.dataset import DataSet
from kdbench.data.dataset_info import DatasetInfo
from kdbench.data.load import DATASETS, Kind, absent, catalog, check, fingerprint, info, load
from kdbench.matrix.spec import DataSpec

__all__ = [
    "DATASETS",
    "DataSet",
    "DataSpec",
    "DatasetInfo",
    "Kind",
    "absent",
    "catalog",
    "check",
    "fingerprint",
    "info",
    "load",
]
