import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from kdbench.data import DataSpec, load
from kdbench.data.dataset import Dataset, assemble
from kdbench.data.prepare import prepare, resize_images, to_gray
from kdbench.errors import DataError


def images(count: int, channels: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, channels, height, width), dtype=np.uint8)


def make_dataset(channels: int = 3) -> Dataset:
    labels = np.arange(40) % 4
    return assemble(images(40, channels, 6, 6), labels, images(8, channels, 6, 6), labels[:8], num_classes=4)


def test_without_options_the_data_set_is_unchanged() -> None:
    assert prepare(make_dataset()).fingerprint == make_dataset().fingerprint


def test_samples_are_stratified_and_keep_their_order() -> None:
    data = prepare(make_dataset(), samples=12)
    assert np.bincount(data.train_labels).tolist() == [3, 3, 3, 3]
    kept = [make_dataset().train_images.tolist().index(image) for image in data.train_images.tolist()]
    assert kept == sorted(kept)
    assert len(data.test_images) == 8


def test_to_gray_equals_pillow() -> None:
    color = images(50, 3, 5, 7)
    expected = [np.asarray(Image.fromarray(i).convert("L")) for i in color.transpose(0, 2, 3, 1)]
    assert np.array_equal(to_gray(color)[:, 0], expected)
    once = to_gray(color)
    assert to_gray(once) is once


def reference_resize(plane: np.ndarray, size: int) -> np.ndarray:
    """Interpolate with normalized triangles as wide as an output pixel (an input pixel if the image grows)."""

    def weights(length: int) -> np.ndarray:
        scale = length / size
        support = max(scale, 1.0)
        centers = (np.arange(size) + 0.5) * scale
        distance = np.abs(np.arange(length) + 0.5 - centers[:, None]) / support
        triangle = np.maximum(1 - distance, 0)
        return triangle / triangle.sum(axis=1, keepdims=True)

    height, width = plane.shape
    return weights(height) @ plane @ weights(width).T


@given(size=st.integers(1, 20), height=st.integers(1, 20), width=st.integers(1, 20), channels=st.sampled_from([1, 3]))
def test_resize_images_is_antialiased_and_bilinear(size: int, height: int, width: int, channels: int) -> None:
    source = images(2, channels, height, width)
    small = resize_images(source, size)
    assert small.shape == (2, channels, size, size)
    assert small.dtype == np.uint8
    for image, result in zip(source.reshape(-1, height, width), small.reshape(-1, size, size), strict=True):
        np.testing.assert_allclose(result, reference_resize(image, size), atol=1.01)


def test_more_pixels_than_the_disk_holds_raise() -> None:
    images = np.zeros((20_000_000, 1, 1, 1), dtype=np.uint8)
    with pytest.raises(
        DataError, match=r"20000000 images of 1 x 4096 x 4096 need 335544 GB decoded, .* smaller resize"
    ):
        resize_images(images, 4096)


def test_resize_has_an_upper_bound() -> None:
    with pytest.raises(DataError, match=r"the option resize must be .*4096.*, got 5000"):
        load(DataSpec("mine", "digits", {"resize": 5000}))
