import numpy as np
import pytest

from kdbench.data.dataset import Dataset, assemble, compute_fingerprint, count_duplicates


def make_dataset(images: np.ndarray) -> Dataset:
    labels = np.zeros(len(images), dtype=np.int64)
    return assemble(images, labels, images[:1], labels[:1], num_classes=1)


def test_the_fingerprint_depends_on_values_shapes_and_types() -> None:
    values = np.arange(6, dtype=np.uint8)
    fingerprints = {
        compute_fingerprint(values),
        compute_fingerprint(values[::-1]),
        compute_fingerprint(values.reshape(2, 3)),
        compute_fingerprint(values.view(np.int8)),
        compute_fingerprint(values[:3], values[3:]),
    }
    assert len(fingerprints) == 5
    assert compute_fingerprint(values[::-1]) == compute_fingerprint(values[::-1].copy())


def test_a_data_set_is_frozen() -> None:
    with pytest.raises(AttributeError, match="cannot assign"):
        make_dataset(np.zeros((1, 1, 1, 1), dtype=np.uint8)).num_classes = 2  # type: ignore[misc]


def test_test_images_that_are_training_images_are_counted() -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 3, 4, 2), dtype=np.uint8)
    assert count_duplicates(images[:15], images[15:]) == 0
    assert count_duplicates(images[:15], images[[3, 17, 3, 14]]) == 3
    nearly = images[:1].copy()
    nearly[0, 0, 0, 0] ^= 1
    assert count_duplicates(images[:15], nearly) == 0
    labels = np.zeros(15, dtype=np.int64)
    assert assemble(images[:15], labels, images[10:], labels[:10], num_classes=1).test_duplicates == 5
