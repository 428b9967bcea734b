"""Handwritten digits, 1797 gray images of 8x8 pixels; they come with scikit-learn, so nothing is downloaded."""

import numpy as np

from kdbench.data.dataset import DataSet, assemble
from kdbench.data.splits import hold_out_test

DESCRIPTION = "1797 handwritten digits, 8x8 gray, 10 classes; comes with scikit-learn"
SOURCE = "Alpaydin, Kaynak, UCI Machine Learning Repository, 1998, doi:10.24432/C50P49"


def digits() -> DataSet:
    """0 to 16 of the source becomes 0 to 255; a fifth of the images, stratified, is for the test."""
    from sklearn.datasets import load_digits

    source = load_digits()
    images = np.rint(source.images[:, None] * (255 / 16)).astype(np.uint8)
    labels = source.target.astype(np.int64)
    train, test = hold_out_test(labels)
    return assemble(images[train], labels[train], images[test], labels[test], num_classes=10)
