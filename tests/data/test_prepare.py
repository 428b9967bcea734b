import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from kdbench.data import DataSpec, load
from kdbench.data.dataset import DataSet, assemble
from kdbench.data.prepare import gray, prepare, resized
from kdbench.errors import DataError


def images(count: int, channels: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, channels, height, width), dtype=np.uint8)


def made(channels: int = 3) -> DataSet:
    labels = np.arange(40) % 4
    return assemble(images(40, channels, 6, 6), labels, images(8, channels, 6, 6), labels[:8], num_classes=4)


def test_without_options_nothing_changes() -> None:
    assert prepare(made()).fingerprint == made().fingerprint


def test_samples_are_stratified_and_keep_their_order() -> None:
    data = prepare(made(), samples=12)
    assert np.bincount(data.train_labels).tolist() == [3, 3, 3, 3]
    kept = [made().train_images.tolist().index(image) for image in data.train_images.tolist()]
    assert kept == sorted(kept)
    assert len(data.test_images) == 8


def test_gray_is_that_of_pillow() -> None:
    color = images(50, 3, 5, 7)
    expected = [np.asarray(Image.fromarray(i).convert("L")) for i in color.transpose(0, 2, 3, 1)]
    assert np.array_equal(gray(color)[:, 0], expected)
    once = gray(color)
    assert gray(once) is once


def reference_resize(plane: np.ndarray, size: int) -> np.ndarray:
    """Triangles as wide as an output pixel (an input pixel, where the image grows), normalized."""

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
def test_resizing_is_antialiased_and_bilinear(size: int, height: int, width: int, channels: int) -> None:
    source = images(2, channels, height, width)
    small = resized(source, size)
    assert small.shape == (2, channels, size, size)
    assert small.dtype == np.uint8
    for image, result in zip(source.reshape(-1, height, width), small.reshape(-1, size, size), strict=True):
        np.testing.assert_allclose(result, reference_resize(image, size), atol=1.01)


def test_more_pixels_than_memory_are_refused() -> None:
    images = np.zeros((20_000_000, 1, 1, 1), dtype=np.uint8)
    with pytest.raises(
        DataError, match=r"20000000 images of 1 x 4096 x 4096 need 335544 GB decoded, .* smaller resize"
    ):
        resized(images, 4096)


def test_no_side_is_longer_than_any_image() -> None:
    with pytest.raises(DataError, match=r"the option resize must be .*4096.*, got 5000"):
        load(DataSpec("mine", "digits", {"resize": 5000}))
