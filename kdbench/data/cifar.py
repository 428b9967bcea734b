"""CIFAR-10 and CIFAR-100: 60,000 color photographs of 32x32 pixels."""

from kdbench.data.dataset_info import DatasetInfo
from kdbench.data.downloads import make_kind, pickle_files

SOURCE = "Krizhevsky, Learning Multiple Layers of Features from Tiny Images, technical report, 2009"
CIFAR10_FILES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch", "batches.meta")

CIFAR10 = make_kind(
    "cifar10",
    pickle_files(
        "CIFAR10",
        tuple(f"cifar-10-batches-py/{name}" for name in CIFAR10_FILES),
        archive="cifar-10-python.tar.gz",
        md5="c58f30108f718f92721af3b95e74349a",
        label="label",
    ),
    description="60,000 photographs, 32x32 RGB, 10 classes; downloaded",
    source=SOURCE,
    info=DatasetInfo((5000,) * 10, channels=3, side=32, test_size=10_000),
)
CIFAR100 = make_kind(
    "cifar100",
    pickle_files(
        "CIFAR100",
        tuple(f"cifar-100-python/{name}" for name in ("train", "test", "meta")),
        archive="cifar-100-python.tar.gz",
        md5="eb9058c3a382ffc7106e4002c42a8d85",
        label="fine_label",
    ),
    description="60,000 photographs, 32x32 RGB, 100 classes (the fine labels); downloaded",
    source=SOURCE,
    info=DatasetInfo((500,) * 100, channels=3, side=32, test_size=10_000),
)
