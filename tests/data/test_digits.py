import numpy as np
from sklearn.datasets import load_digits

from kdbench.data.digits import digits


def test_every_image_of_the_source_is_there_once() -> None:
    data, source = digits(), load_digits()
    images = np.concatenate([data.train_images, data.test_images])[:, 0]
    assert sorted(map(bytes, images)) == sorted(map(bytes, np.rint(source.images * 15.9375).astype(np.uint8)))
    assert images.max() == 255
    assert data.num_classes == 10


def test_a_fifth_of_each_class_is_for_the_test() -> None:
    data = digits()
    counts, of = np.bincount(data.test_labels), np.bincount(load_digits().target)
    assert (np.abs(counts - of / 5) < 1).all()
    assert (len(data.train_labels), len(data.test_labels)) == (1437, 360)


def test_it_is_the_same_every_time() -> None:
    assert digits().fingerprint == "6c40dcb7307b330a"
