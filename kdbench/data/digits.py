"""Handwritten digits, 1797 grey images of 8x8 pixels; they come with scikit-learn, so nothing is downloaded."""

import numpy as np

from kdbench.data.dataset import DataSet, assemble

DESCRIPTION = "1797 handwritten digits, 8x8 grey, 10 classes; comes with scikit-learn"
SOURCE = "Alpaydin, Kaynak, UCI Machine Learning Repository, 1998, doi:10.24432/C50P49"


def digits() -> DataSet:
    """Every fifth image of each class is a test image; 0 to 16 of the source becomes 0 to 255."""
    from sklearn.datasets import load_digits

    source = load_digits()
    images = np.rint(source.images[:, None] * (255 / 16)).astype(np.uint8)
    labels = source.target.astype(np.int64)
    test = np.zeros(len(labels), dtype=bool)
    for label in range(10):
        test[np.flatnonzero(labels == label)[4::5]] = True
    return assemble(images[~test], labels[~test], images[test], labels[test], num_classes=10)
