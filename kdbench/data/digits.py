"""Handwritten digits: 1,797 gray images of 8x8 pixels that are part of scikit-learn."""

import numpy as np

from kdbench.data.dataset import Dataset, assemble
from kdbench.data.kind import DatasetKind
from kdbench.data.splits import hold_out_test


def load_digits() -> Dataset:
    """Return the data set with values scaled from 0-16 to 0-255; a stratified fifth of the images is the test set."""
    from sklearn.datasets import load_digits

    source = load_digits()
    images = np.rint(source.images[:, None] * (255 / 16)).astype(np.uint8)
    labels = source.target.astype(np.int64)
    train, test = hold_out_test(labels)
    return assemble(images[train], labels[train], images[test], labels[test], num_classes=10)


DIGITS = DatasetKind(
    name="digits",
    load=load_digits,
    description="1,797 handwritten digits, 8x8 gray, 10 classes; part of scikit-learn, nothing is downloaded",
    source="Alpaydin and Kaynak, UCI Machine Learning Repository, 1998, doi:10.24432/C50P49",
)
