"""The data sets. `DATASETS` is the table of contents. Only what reads and augments batches imports torch."""

from collections.abc import Mapping

from kdbench.data.cifar import CIFAR10, CIFAR100
from kdbench.data.dataset import Dataset
from kdbench.data.dataset_info import DatasetInfo
from kdbench.data.digits import DIGITS
from kdbench.data.folder import FOLDER
from kdbench.data.kind import DatasetKind
from kdbench.data.load import check, find_missing, get_fingerprint, get_info, load
from kdbench.data.mnist import FASHION_MNIST, MNIST
from kdbench.data.npz import NPZ
from kdbench.data.parquet import PARQUET
from kdbench.data.remote_sensing import AID, EUROSAT, NWPU_RESISC45, UC_MERCED
from kdbench.matrix.spec import DataSpec

__all__ = [
    "DATASETS",
    "DataSpec",
    "Dataset",
    "DatasetInfo",
    "DatasetKind",
    "check",
    "find_missing",
    "get_fingerprint",
    "get_info",
    "load",
]

DATASETS: Mapping[str, DatasetKind] = {
    kind.name: kind
    for kind in (
        DIGITS,
        NPZ,
        FOLDER,
        PARQUET,
        MNIST,
        FASHION_MNIST,
        CIFAR10,
        CIFAR100,
        EUROSAT,
        UC_MERCED,
        AID,
        NWPU_RESISC45,
    )
}
