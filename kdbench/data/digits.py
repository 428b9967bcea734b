"""Handwritten digits, 1797 grey images of 8x8 pixels; they come with scikit-learn, so nothing is downloaded."""

import numpy as np

from kdbench.data.dataset import DataSet, assemble

DESCRIPTION = "1797 handwritten digits, 8x8 grey, 10 classes; comes with scikit-learn"
SOURCE = "Alpaydin, Kaynak, UCI Machine Learning Repository, 1998, doi:10.24432/C50P49"


def digits() -> DataSet:
    """0 to 16 of the source becomes 0 to 255; a fifth of the images, stratified, is for the test.

    The source has no official split: this is scikit-learn's `train_test_split` with `random_state=0`, so that anybody
    can make the same.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    source = load_digits()
    images = np.rint(source.images[:, None] * (255 / 16)).astype(np.uint8)
    labels = source.target.astype(np.int64)
    train, test = train_test_split(np.arange(len(labels)), test_size=0.2, random_state=0, stratify=labels)
    return assemble(images[train], labels[train], images[test], labels[test], num_classes=10)
