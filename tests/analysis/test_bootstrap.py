"""Resampling of seeds and test images: its variance, its interval, and how often the interval contains the truth."""

import time
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from kdbench.analysis import paired_interval
from kdbench.analysis.bootstrap import bootstrap_interval, resample_gain

Array = NDArray[Any]
SMALL, LARGE = 0.1, 0.5


def simulate(
    rng: np.random.Generator, seeds: int, images: int, of_seed: float, of_image: float, of_both: float
) -> Array:
    """Return gains (S, N) of one method over an equal one, with effects of seeds, of images, and of both together."""
    difficulty = rng.normal(1.5, 1.5, images)

    def hits() -> Array:
        effects = rng.normal(0, of_image, images) + rng.normal(0, of_seed, (seeds, 1))
        return difficulty + effects + rng.normal(0, of_both, (seeds, images)) > 0

    return hits().astype(float) - hits()


def seed_interval(gains: Array) -> Any:
    means = pd.Series(gains.mean(axis=1))
    return paired_interval(means, means * 0, gains.shape[1])


@pytest.mark.parametrize(("seeds", "images"), [(3, 50), (10, 400)])
def test_resampled_gains_have_the_variance_of_independent_resamples(seeds: int, images: int) -> None:
    gains = simulate(np.random.default_rng(0), seeds, images, 0.3, SMALL, LARGE)
    x = gains - gains.mean()
    of_images, of_seeds = (x.sum(axis=0) ** 2).sum(), (x.sum(axis=1) ** 2).sum()
    exact = ((1 - 1 / seeds) * of_images + (1 - 1 / images) * of_seeds + (x**2).sum()) / x.size**2
    draws = resample_gain(gains, 20_000)
    assert draws.var() == pytest.approx(exact, rel=0.05)
    assert draws.mean() == pytest.approx(gains.mean(), abs=4 * (exact / 20_000) ** 0.5)


def test_the_random_numbers_are_fixed() -> None:
    gains = simulate(np.random.default_rng(0), 5, 300, 0.1, SMALL, LARGE)
    assert (resample_gain(gains) == resample_gain(gains.copy())).all()
    assert bootstrap_interval(gains) == bootstrap_interval(gains.copy())


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
def test_without_effects_of_images_the_interval_is_that_of_the_seeds(seeds: int) -> None:
    gains = np.repeat(np.linspace(-0.02, 0.05, seeds)[:, None] ** 2, 200, axis=1)
    found, expected = bootstrap_interval(gains), seed_interval(gains)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=0.02)


@given(st.integers(2, 8), st.integers(1, 60), st.integers(0, 1000))
def test_the_interval_contains_that_of_the_seeds(seeds: int, images: int, seed: int) -> None:
    gains = np.random.default_rng(seed).integers(-1, 2, (seeds, images))
    found, narrow = bootstrap_interval(gains, resamples=200), seed_interval(gains)
    assert found is not None
    assert found.low <= narrow.low + 1e-12
    assert found.high >= narrow.high - 1e-12


def test_one_seed_has_no_interval() -> None:
    assert bootstrap_interval(np.ones((1, 10))) is None


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("effects", [(0.05, SMALL, LARGE), (0.02, LARGE, 0.3), (0.15, SMALL, LARGE)])
def test_the_interval_covers_95_percent(seeds: int, effects: tuple[float, float, float]) -> None:
    rng, tables = np.random.default_rng(seeds), 300
    found = [bootstrap_interval(simulate(rng, seeds, 360, *effects)) for _ in range(tables)]
    covered = np.mean([one is not None and one.low <= 0 <= one.high for one in found])
    assert 0.92 <= covered <= 0.99  # 300 tables: 2.5 standard errors are 3 %


def test_intervals_of_seeds_alone_miss_the_effect_of_the_test_images() -> None:
    rng = np.random.default_rng(1)
    found = [seed_interval(simulate(rng, 10, 360, 0.02, LARGE, 0.3)) for _ in range(300)]
    assert np.mean([one.low <= 0 <= one.high for one in found]) < 0.7


def test_twenty_rows_of_ten_seeds_and_ten_thousand_images_take_seconds() -> None:
    gains = simulate(np.random.default_rng(0), 10, 10_000, 0.05, SMALL, LARGE)
    begin = time.perf_counter()
    for _ in range(20):
        bootstrap_interval(gains)
        resample_gain(gains)
    assert time.perf_counter() - begin < 10
