"""MNIST and Fashion-MNIST: 70,000 gray images of 28x28 pixels in 10 classes."""

from kdbench.data.dataset_info import DatasetInfo
from kdbench.data.downloads import idx_files, make_kind

MNIST = make_kind(
    "mnist",
    idx_files(
        "MNIST",
        {
            "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
        },
    ),
    description="70,000 handwritten digits, 28x28 gray, 10 classes; downloaded",
    source="LeCun et al., Proceedings of the IEEE 86(11), 1998, doi:10.1109/5.726791",
    info=DatasetInfo(
        (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949), channels=1, side=28, test_size=10_000
    ),
)
FASHION_MNIST = make_kind(
    "fashion_mnist",
    idx_files(
        "FashionMNIST",
        {
            "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
        },
    ),
    description="70,000 pieces of clothing, 28x28 gray, 10 classes; downloaded",
    source="Xiao et al., 2017, arXiv:1708.07747",
    info=DatasetInfo((6000,) * 10, channels=1, side=28, test_size=10_000),
)
