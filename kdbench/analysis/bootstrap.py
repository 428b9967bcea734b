"""How far a mean gain of two candidates would move with other seeds and other test images: resampling of both."""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdbench.analysis.statistics import CONFIDENCE_LEVEL, Interval, smallest_standard_error

Floats = NDArray[np.float64]

RESAMPLES = 1000
CHUNK = 100  # resamples per matrix product


def resample_gain(gains: NDArray[Any], resamples: int = RESAMPLES) -> Floats:
    """Return the mean gain in each of several resamples (B,) of the seeds and of the test images.

    Seeds and images are drawn with replacement, independently of each other, since all seeds share the test images
    (Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1, 2007; Owen and Eckles, arXiv:1106.2125). No
    bootstrap of crossed factors is exact (McCullagh, "Resampling and exchangeable arrays", Bernoulli 6, 2000): this
    one counts what is particular to one seed and one image three times, and shrinks the spread of S seeds by
    (S - 1) / S. `bootstrap_interval` corrects both.

    Args:
        gains: for every seed and test image (S, N), correct (1) or not (0) minus the same of the baseline.
        resamples: their number B. The random numbers are the same in every call.
    """
    seeds, images = gains.shape
    by_seed = _resample(np.asarray(gains, np.float32).T, images, resamples)
    counts = np.random.default_rng(1).multinomial(seeds, [1 / seeds] * seeds, resamples)
    result: Floats = (by_seed * counts).sum(axis=1) / seeds
    return result


def bootstrap_interval(
    gains: NDArray[Any], level: float = CONFIDENCE_LEVEL, resamples: int = RESAMPLES
) -> Interval | None:
    """Return the confidence interval of a mean gain over seeds and test images; None for fewer than two seeds.

    The interval has the percentiles of a hierarchical bootstrap. Test images are drawn with replacement. Their effects
    are first shrunk to the variance of images alone, without what is particular to one seed and one image (Carpenter,
    Goldstein and Rasbash, "A novel bootstrap procedure for assessing the relationship between class size and
    achievement", Applied Statistics 52, 2003, who reflate residuals likewise). The mean over seeds is drawn from its
    Student t distribution: drawn with replacement, a handful of seeds gives too few different means. So the interval
    is that of `paired_interval` if images have no effect of their own, and wider otherwise.

    Args:
        gains: for every seed and test image (S, N), correct (1) or not (0) minus the same of the baseline.
        level: the confidence level.
        resamples: their number. The random numbers are the same in every call.
    """
    from scipy.special import stdtrit

    seeds, images = gains.shape
    if seeds < 2:
        return None
    values = np.asarray(gains, np.float64)
    of_seed, of_image, mean = values.mean(axis=1), values.mean(axis=0), float(values.mean())
    error = max(float(of_seed.std(ddof=1)) / seeds**0.5, smallest_standard_error(images))
    effects = (of_image - mean) * _shrinkage(values, of_seed, of_image, mean)
    by_images = _resample(effects.astype(np.float32), images, resamples)
    shares = (np.random.default_rng(1).permutation(resamples) + 0.5) / resamples  # each part of the distribution once
    draws = mean + by_images + error * stdtrit(seeds - 1, shares)
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], method="hazen")
    margin = float(stdtrit(seeds - 1, (1 + level) / 2)) * error  # the least, whatever the draws
    return Interval(min(float(low), mean - margin), max(float(high), mean + margin))


def _shrinkage(values: Floats, of_seed: Floats, of_image: Floats, mean: float) -> float:
    """Return the factor that leaves the mean effects of images the variance of images alone (an analysis of variance).

    The mean squares of a two-way layout without replications: Scheffé, "The Analysis of Variance", 1959, chapter 4.
    """
    seeds, images = values.shape
    square_of_images = seeds * ((of_image - mean) ** 2).sum() / max(images - 1, 1)
    residuals = values - of_seed[:, None] - of_image + mean
    square_of_residuals = (residuals**2).sum() / ((seeds - 1) * max(images - 1, 1))
    return float(np.sqrt(max(0.0, 1 - square_of_residuals / square_of_images))) if square_of_images else 0.0


def _resample(values: NDArray[np.float32], images: int, resamples: int) -> Floats:
    """Return the means of values of images (N,) or (N, S) over each resample of the images, (B,) or (B, S)."""
    counts = _image_counts(images, resamples)
    chunks = (counts[start : start + CHUNK].astype(np.float32) @ values for start in range(0, resamples, CHUNK))
    result: Floats = np.concatenate(list(chunks)).astype(np.float64) / images
    return result


@lru_cache(maxsize=2)
def _image_counts(images: int, resamples: int) -> NDArray[np.uint8]:
    """Return how often each image is in each resample, (B, N)."""
    random = np.random.default_rng(0)
    return np.stack(
        [np.bincount(random.integers(images, size=images), minlength=images).astype(np.uint8) for _ in range(resamples)]
    )
