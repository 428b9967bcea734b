"""The images that determine how images are normalized."""

from dataclasses import replace

import numpy as np
import pytest

from kdbench.data.dataset import Dataset, assemble
from kdbench.data.moments import channel_moments, run_moments
from kdbench.data.run_images import split_images
from kdbench.matrix.recipe import Recipe
from kdbench.matrix.spec import DataSpec, NetworkSpec, Part, RunSpec, Split

SPEC = RunSpec(DataSpec("d", "digits"), NetworkSpec("mlp_8"), (Part("scratch"),), Recipe(), Split(0.2), 0)


@pytest.fixture
def loaded() -> Dataset:
    images = np.random.default_rng(0).integers(0, 256, (50, 3, 4, 2), dtype=np.uint8)
    labels = np.arange(50) % 5
    return assemble(images, labels, images[:5], labels[:5], num_classes=5)


def test_mean_and_std_of_each_channel() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5000, 3, 4, 2), dtype=np.uint8)
    indices = np.arange(4500) + 500
    moments = channel_moments(images, indices)
    np.testing.assert_allclose(moments.mean, (images[500:] / 255).mean(axis=(0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(moments.std, (images[500:] / 255).std(axis=(0, 2, 3)), rtol=1e-12)


def test_a_constant_channel_can_be_divided_by_its_std() -> None:
    moments = channel_moments(np.full((2, 1, 3, 3), 255, dtype=np.uint8), np.arange(2))
    assert (moments.mean, moments.std) == ((1.0,), (1.0,))


def test_no_validation_image_changes_the_moments(loaded: Dataset) -> None:
    indices = split_images(loaded, SPEC.split, SPEC.recipe)
    assert len(indices.validation) == 10
    images = loaded.train_images.copy()
    images[indices.validation] = 255
    assert run_moments(replace(loaded, train_images=images), SPEC) == run_moments(loaded, SPEC)
    images[indices.train[0]] = 255
    assert run_moments(replace(loaded, train_images=images), SPEC) != run_moments(loaded, SPEC)


def test_the_runs_of_a_split_have_the_same_moments(loaded: Dataset) -> None:
    fewer = replace(SPEC, recipe=Recipe(train_samples=10), seed=3)
    assert run_moments(loaded, fewer) == run_moments(loaded, SPEC)
    other = replace(SPEC, split=replace(SPEC.split, split_seed=1))
    assert run_moments(loaded, other) != run_moments(loaded, SPEC)


def test_without_validation_all_training_images_count(loaded: Dataset) -> None:
    spec = replace(SPEC, split=Split(validation=0.0))
    assert run_moments(loaded, spec) == channel_moments(loaded.train_images, np.arange(50))
