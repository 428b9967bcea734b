import numpy as np
from sklearn.datasets import load_digits

from kdbench.data import digits


def test_every_image_of_the_source_occurs_once() -> None:
    data, source = digits.load_digits(), load_digits()
    images = np.concatenate([data.train_images, data.test_images])[:, 0]
    assert sorted(map(bytes, images)) == sorted(map(bytes, np.rint(source.images * 15.9375).astype(np.uint8)))
    assert images.max() == 255
    assert data.num_classes == 10


def test_a_fifth_of_each_class_is_the_test_set() -> None:
    data = digits.load_digits()
    counts, totals = np.bincount(data.test_labels), np.bincount(load_digits().target)
    assert (np.abs(counts - totals / 5) < 1).all()
    assert (len(data.train_labels), len(data.test_labels)) == (1437, 360)


def test_the_fingerprint_is_fixed() -> None:
    assert digits.load_digits().fingerprint == "6c40dcb7307b330a"
