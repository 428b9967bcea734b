"""Known data sets as torchvision has them: read where they are, downloaded where they are not."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from kdbench.data.dataset import DataSet, Images, Labels, assemble
from kdbench.errors import DataError

IDX = tuple(f"{part}-{what}-ubyte" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1"))


@final
@dataclass(frozen=True)
class Download:
    """A data set with an official split."""

    name: str
    original: str  # the name of torchvision's class
    places: tuple[str, ...]  # below the root
    layout: str
    description: str
    source: str

    @property
    def load(self) -> Callable[..., DataSet]:
        """Reads it."""

        def load(*, root: str = "data") -> DataSet:
            found = [obtained(self.original, root, self.layout, train=train) for train in (True, False)]
            train, test = map(_arrays, found)
            return assemble(*train, *test, num_classes=len(found[0].classes))

        return load

    def fetch(self, root: str) -> None:
        """Download it into the folder `root`, or unpack there what was downloaded before."""
        obtained(self.original, root, self.layout)


def obtained(original: str, root: str, layout: str, **options: Any) -> Any:
    """The data set in the folder `root` as an object of torchvision's class `original`, downloaded if need be.

    Raises:
        DataError: it is not there and cannot be downloaded, or a file is damaged.
    """
    import torchvision.datasets

    try:
        return getattr(torchvision.datasets, original)(root, download=True, **options)
    except MemoryError:
        raise
    except Exception as error:  # torchvision raises nearly anything at damaged files
        reason = " ".join((str(error) or type(error).__name__).split())
        raise DataError(
            f"{root}: {original} cannot be read there, nor downloaded ({reason}); delete what is damaged, and connect "
            f"to the internet or make it {layout}"
        ) from error


def _arrays(found: Any) -> tuple[Images, Labels]:
    """Images (N, C, H, W) and labels (N,) of torchvision's (N, H, W) or (N, H, W, C)."""
    images = np.asarray(found.data)
    return images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2), np.asarray(found.targets)


def _idx(folder: str) -> dict[str, Any]:
    return {
        "places": tuple(f"{folder}/{file}" for file in IDX),
        "layout": f"a folder with {folder}/, and in it {', '.join(IDX)}, or the same as .gz",
    }


MNIST = Download(
    "mnist",
    "MNIST",
    **_idx("MNIST/raw"),
    description="70,000 handwritten digits, 28x28 grey, 10 classes; downloaded",
    source="LeCun, Bottou, Bengio, Haffner, Proceedings of the IEEE 86(11), 1998",
)
FASHION_MNIST = Download(
    "fashion_mnist",
    "FashionMNIST",
    **_idx("FashionMNIST/raw"),
    description="70,000 pieces of clothing, 28x28 grey, 10 classes; downloaded",
    source="Xiao, Rasul, Vollgraf, 2017, arXiv:1708.07747",
)
CIFAR10 = Download(
    "cifar10",
    "CIFAR10",
    places=("cifar-10-batches-py",),
    layout="a folder with cifar-10-batches-py/, and in it the files of cifar-10-python.tar.gz, or with that archive",
    description="60,000 photographs, 32x32 RGB, 10 classes; downloaded",
    source="Krizhevsky, Learning Multiple Layers of Features from Tiny Images, technical report, 2009",
)
CIFAR100 = Download(
    "cifar100",
    "CIFAR100",
    places=("cifar-100-python",),
    layout="a folder with cifar-100-python/, and in it the files of cifar-100-python.tar.gz, or with that archive",
    description="60,000 photographs, 32x32 RGB, 100 classes (the fine labels); downloaded",
    source="Krizhevsky, Learning Multiple Layers of Features from Tiny Images, technical report, 2009",
)
