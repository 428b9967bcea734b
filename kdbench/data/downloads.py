"""Known data sets as torchvision has them: read where they are, downloaded where they are not."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from kdbench.data.dataset import DataSet, Images, Labels, assemble
from kdbench.data.dataset_info import DatasetInfo
from kdbench.errors import DataError

IDX = tuple(f"{part}-{what}-ubyte" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1"))

Archives = tuple[tuple[str, str], ...]  # below the root, each with its MD5


@final
@dataclass(frozen=True)
class Download:
    """A data set with an official split."""

    name: str
    original: str  # the name of torchvision's class
    places: tuple[str, ...]  # below the root
    archives: Archives  # what is downloaded, and unpacked where it is there
    layout: str
    description: str
    source: str
    info: DatasetInfo

    @property
    def load(self) -> Callable[..., DataSet]:
        """Reads it."""

        def load(*, root: str = "data") -> DataSet:
            found = [downloaded(self.original, root, self.layout, download=False, train=part) for part in (True, False)]
            train, test = map(_arrays, found)
            return assemble(*train, *test, num_classes=len(found[0].classes))

        return load

    def fetch(self, root: str) -> None:
        """Download it into the folder `root`, or unpack there what was downloaded before."""
        downloaded(self.original, root, self.layout, download=True)


def downloaded(original: str, root: str, layout: str, *, download: bool, **options: Any) -> Any:
    """The data set in the folder `root` as an object of torchvision's class `original`.

    With `download` it is unpacked, and downloaded, if need be.

    Raises:
        DataError: it is not there and cannot be downloaded, or a file is corrupted.
    """
    import torchvision.datasets

    try:
        return getattr(torchvision.datasets, original)(root, download=download, **options)
    except MemoryError:
        raise
    except Exception as error:  # torchvision raises nearly anything at corrupted files
        reason = " ".join((str(error) or type(error).__name__).split())
        failed = "cannot be read there, nor downloaded" if download else "cannot be read there"
        raise DataError(
            f"{root}: {original} {failed} ({reason}); delete what is corrupted, and connect to the internet or make it "
            f"{layout}"
        ) from error


def _arrays(found: Any) -> tuple[Images, Labels]:
    """Images (N, C, H, W) and labels (N,) of torchvision's (N, H, W) or (N, H, W, C)."""
    images = np.asarray(found.data)
    return images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2), np.asarray(found.targets)


def _idx(folder: str, *md5: str) -> dict[str, Any]:
    return {
        "places": tuple(f"{folder}/{file}" for file in IDX),
        "archives": tuple((f"{folder}/{file}.gz", digest) for file, digest in zip(IDX, md5, strict=True)),
        "layout": f"a folder with {folder}/, and in it {', '.join(IDX)}, or the same as .gz",
    }


def _pickles(folder: str, files: tuple[str, ...], archive: str, md5: str) -> dict[str, Any]:
    return {
        "places": tuple(f"{folder}/{file}" for file in files),
        "archives": ((archive, md5),),
        "layout": f"a folder with {folder}/, and in it the files of {archive}, or with that archive",
    }


MNIST = Download(
    "mnist",
    "MNIST",
    **_idx(
        "MNIST/raw",
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "d53e105ee54ea40749a09fcbcd1e9432",
        "9fb629c4189551a2d022fa330f9573f3",
        "ec29112dd5afa0611ce80d1b7f02629c",
    ),
    description="70,000 handwritten digits, 28x28 gray, 10 classes; downloaded",
    source="LeCun, Bottou, Bengio, Haffner, Proceedings of the IEEE 86(11), 1998",
    info=DatasetInfo((5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949), channels=1, side=28),
)
FASHION_MNIST = Download(
    "fashion_mnist",
    "FashionMNIST",
    **_idx(
        "FashionMNIST/raw",
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "25c81989df183df01b3e8a0aad5dffbe",
        "bef4ecab320f06d8554ea6380940ec79",
        "bb300cfdad3c16e7a12a480ee83cd310",
    ),
    description="70,000 pieces of clothing, 28x28 gray, 10 classes; downloaded",
    source="Xiao, Rasul, Vollgraf, 2017, arXiv:1708.07747",
    info=DatasetInfo((6000,) * 10, channels=1, side=28),
)
CIFAR10 = Download(
    "cifar10",
    "CIFAR10",
    **_pickles(
        "cifar-10-batches-py",
        (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta"),
        "cifar-10-python.tar.gz",
        "c58f30108f718f92721af3b95e74349a",
    ),
    description="60,000 photographs, 32x32 RGB, 10 classes; downloaded",
    source="Krizhevsky, Learning Multiple Layers of Features from Tiny Images, technical report, 2009",
    info=DatasetInfo((5000,) * 10, channels=3, side=32),
)
CIFAR100 = Download(
    "cifar100",
    "CIFAR100",
    **_pickles(
        "cifar-100-python",
        ("train", "test", "meta"),
        "cifar-100-python.tar.gz",
        "eb9058c3a382ffc7106e4002c42a8d85",
    ),
    description="60,000 photographs, 32x32 RGB, 100 classes (the fine labels); downloaded",
    source="Krizhevsky, Learning Multiple Layers of Features from Tiny Images, technical report, 2009",
    info=DatasetInfo((500,) * 100, channels=3, side=32),
)
