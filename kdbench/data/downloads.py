"""Known data sets as torchvision has them: read where they are, downloaded where they are not."""

from pathlib import Path
from typing import Any

import numpy as np

from kdbench.data.dataset import DataSet, Images, Labels, assemble
from kdbench.errors import DataError

MNIST_DESCRIPTION = "70,000 handwritten digits, 28x28 grey, 10 classes; downloaded"
MNIST_SOURCE = "LeCun, Bottou, Bengio, Haffner, Proceedings of the IEEE 86(11), 1998"
FASHION_MNIST_DESCRIPTION = "70,000 pieces of clothing, 28x28 grey, 10 classes; downloaded"
FASHION_MNIST_SOURCE = "Xiao, Rasul, Vollgraf, 2017, arXiv:1708.07747"

IDX_FILES = tuple(f"{part}-{what}-ubyte" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1"))
IDX = f"{', '.join(IDX_FILES)}, or the same as .gz"

FOLDERS = {"MNIST": "MNIST/raw", "FashionMNIST": "FashionMNIST/raw"}
PLACES = {name: tuple(f"{FOLDERS[name]}/{file}" for file in IDX_FILES) for name in ("MNIST", "FashionMNIST")}
LAYOUTS = {name: f"a folder with {folder}/, and in it {IDX}" for name, folder in FOLDERS.items()}


def mnist(*, root: str = "data") -> DataSet:
    """MNIST with its official split.

    Raises:
        DataError: it is not there and cannot be downloaded, or a file is damaged.
    """
    return _read("MNIST", root)


def fashion_mnist(*, root: str = "data") -> DataSet:
    """Fashion-MNIST with its official split.

    Raises:
        DataError: it is not there and cannot be downloaded, or a file is damaged.
    """
    return _read("FashionMNIST", root)


def fetch(name: str, root: str) -> None:
    """Download torchvision's data set `name` into the folder `root`, or unpack what was downloaded before.

    Raises:
        DataError: it cannot be downloaded.
    """
    _made(name, root)


def _read(name: str, root: str) -> DataSet:
    train, test = (_arrays(_made(name, root, train=train)) for train in (True, False))
    return assemble(*train, *test, num_classes=int(train[1].max()) + 1)


def _arrays(found: Any) -> tuple[Images, Labels]:
    """Images (N, C, H, W) and labels (N,) of torchvision's (N, H, W) or (N, H, W, C)."""
    images = np.asarray(found.data)
    return images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2), np.asarray(found.targets)


def _made(name: str, root: str, **options: Any) -> Any:
    """The data set as an object of torchvision, which raises nearly anything at damaged files."""
    import torchvision.datasets

    try:
        return getattr(torchvision.datasets, name)(root, download=True, **options)
    except MemoryError:
        raise
    except Exception as error:
        reason = " ".join((str(error) or type(error).__name__).split())
        raise DataError(
            f"{Path(root) / FOLDERS[name]}: {name} cannot be read, nor downloaded ({reason}); "
            f"delete what is damaged, and give the machine access to the internet or put there: {LAYOUTS[name]}"
        ) from error
