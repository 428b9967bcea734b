"""The candidates that cannot be excluded from being the best, with a controlled family-wise error.

The procedure was chosen by simulation (benchmarks/significance.py): of those whose error stays near 5 % when the
candidates have different variances, it has the highest power.
"""

from collections.abc import Collection, Hashable
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, final

import numpy as np
import numpy.typing as npt

from kdbench.analysis.choice import comparable_scores
from kdbench.analysis.statistics import smallest_standard_error

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]

FAMILY_WISE_ERROR = 0.05
MIN_SEEDS = 5  # with fewer common seeds nothing is tested
PROFILES = ((1.0,), (3.0, 1.0), (4.0, 1.0, 1.0, 1.0))  # standard deviations of the candidates, repeated
MAX_SIMULATED = 60  # candidates; for more the critical values are bounds
MIN_TABLES, MAX_TABLES = 5_000, 20_000  # simulated per profile for the critical values
SIMULATED_PAIRS = 4_000_000  # pairs of candidates in all tables of a profile, within these limits
CHUNK = 1_000_000  # pairs of candidates in memory at a time


@final
@dataclass(frozen=True)
class Comparison:
    """The best candidate of a table's column, and what is known about the others.

    `tied` cannot be excluded from being the best; with fewer than `MIN_SEEDS` common seeds, where nothing is tested,
    they have the same mean. `untested` have scores, but a failed seed, or fewer seeds than others. `seeds` and
    `candidates` count what is compared. `spread` is the pooled standard deviation of the difference between two of them
    on one seed, None with one seed or if all have equal scores; candidates with equal scores on every seed, such as
    alpha = 0 and the student from scratch, count once.
    """

    best: Hashable | None = None
    tied: tuple[Hashable, ...] = ()
    untested: tuple[Hashable, ...] = ()
    seeds: int = 0
    candidates: int = 0
    spread: float | None = None

    @property
    def is_tested(self) -> bool:
        """Whether there are enough common seeds, and at least two candidates, for a test."""
        return self.seeds >= MIN_SEEDS and self.candidates > 1


def measure_spread(scores: "pd.DataFrame", failed: Collection[Hashable] = ()) -> Comparison:
    """Return the comparison of candidates without a test, so that only equal means are tied.

    Args:
        scores: one row per seed and one column per candidate; NaN where a run failed or is not finished.
        failed: the candidates with a failed seed.
    """
    compared = comparable_scores(scores, failed)
    if compared.empty:
        return Comparison()
    values, names = compared.to_numpy(float), list(compared.columns)
    untested = tuple(name for name in scores.columns if name not in names and scores[name].notna().any())
    seeds, candidates = values.shape
    distinct = np.unique(values, axis=1)
    spread = pooled_spread(distinct) if seeds > 1 and distinct.shape[1] > 1 else None
    means = values.mean(axis=0)
    best, *equal = (name for name, mean in zip(names, means, strict=True) if np.isclose(mean, means.max(), rtol=1e-12))
    return Comparison(best, tuple(equal), untested, seeds, candidates, spread)


def compare_candidates(scores: "pd.DataFrame", test_images: int, failed: Collection[Hashable] = ()) -> Comparison:
    """Return the best candidate and those that cannot be excluded from being the best.

    Args:
        scores: shares of the test images, one row per seed and one column per candidate; NaN where a run failed or is
            not finished. `comparable_scores` says which candidates and seeds are compared.
        test_images: the number of test images.
        failed: the candidates with a failed seed.

    Raises:
        ValueError: there is no test image.
    """
    found, compared = measure_spread(scores, failed), comparable_scores(scores, failed)
    if not found.is_tested:
        return found
    is_excluded = exclude(compared.to_numpy(float), test_images)
    kept = (name for name, out in zip(compared.columns, is_excluded, strict=True) if not out)
    return replace(found, tied=tuple(name for name in kept if name != found.best))


def pooled_spread(values: Floats) -> float:
    """Return the standard deviation of the difference of two columns of values (seeds, candidates), pooled over pairs.

    It is sqrt(2 MSE) with the mean square of the residuals of seeds and candidates (Scheffé, "The Analysis of
    Variance", 1959, section 4.2), which equals the root of the mean paired variance over all pairs.
    """
    residuals = _residuals(values)
    seeds, candidates = values.shape
    return float(np.sqrt(2 * (residuals**2).sum() / ((seeds - 1) * (candidates - 1))))


def exclude(values: Floats, test_images: int) -> npt.NDArray[np.bool_]:
    """Return which candidates are excluded from being the best; values (..., seeds, candidates), result (..., k).

    The hypothesis of a candidate is that no other has a higher mean. Its statistic is the greatest studentized
    difference of another one to it (Hsu, "Multiple Comparisons: Theory and Methods", 1996, chapter 4), and hypotheses
    are rejected by steps, the greatest statistic first, each against the critical value for as many hypotheses as are
    left (Holm, 1979; Romano and Wolf, JASA 2005). The probability that any of the truly best is excluded
    is at most 5 %, whatever the means of the others. The candidate with the highest mean is never excluded.
    """
    statistics = greatest_excess(values, smallest_standard_error(test_images))
    order = np.argsort(-statistics, axis=-1, kind="stable")
    critical = critical_values(values.shape[-1], values.shape[-2])[::-1]
    is_rejected = np.logical_and.accumulate(np.take_along_axis(statistics, order, -1) > critical, axis=-1)
    excluded = np.zeros_like(is_rejected)
    np.put_along_axis(excluded, order, is_rejected, -1)
    return excluded


@cache
def critical_values(candidates: int, seeds: int) -> Floats:
    """Return the critical values (candidates,) of 1, 2, ... hypotheses; each is compared with all candidates.

    They are quantiles of simulated normal scores of equal means (the same ones in every call). Candidates may differ
    in variance, so the greatest quantile over the `PROFILES` counts: equal, half of them three times as noisy, a
    quarter of them four times. For more than 60 candidates they are those of the paired t-test, with the level divided
    by the number of comparisons (Bonferroni): no statistic is greater than that of the pair alone.
    """
    if candidates > MAX_SIMULATED:
        from scipy.special import stdtrit

        hypotheses = np.arange(1, candidates + 1)
        bounds: Floats = stdtrit(seeds - 1, 1 - FAMILY_WISE_ERROR / (hypotheses * (candidates - 1)))
        return bounds
    greatest: Floats = np.max([_simulate(candidates, seeds, profile) for profile in PROFILES], axis=0)
    return greatest


def _simulate(candidates: int, seeds: int, profile: tuple[float, ...]) -> Floats:
    random = np.random.default_rng(0)
    deviations = np.resize(profile, candidates)
    tables = min(MAX_TABLES, max(MIN_TABLES, SIMULATED_PAIRS // candidates**2))
    chunk = min(tables, max(1, CHUNK // candidates**2))
    greatest = []
    for _ in range(0, tables, chunk):
        scales = random.permuted(np.tile(deviations, (chunk, 1)), axis=1)
        values = random.standard_normal((chunk, seeds, candidates)) * scales[:, None, :]
        greatest.append(np.maximum.accumulate(greatest_excess(values, 0), axis=1))
    quantiles: Floats = np.quantile(np.concatenate(greatest), 1 - FAMILY_WISE_ERROR, axis=0)
    return quantiles


def greatest_excess(values: Floats, smallest_error: float) -> Floats:
    """Return the greatest studentized difference of another candidate to each one, (..., candidates)."""
    means = values.mean(axis=-2)
    errors = np.sqrt(_paired_variances(values) / values.shape[-2])
    differences = means[..., None, :] - means[..., :, None]  # of the column to the row
    itself = np.eye(values.shape[-1], dtype=bool)
    studentized = differences / np.where(itself, 1, np.maximum(errors, smallest_error))
    greatest: Floats = np.where(itself, -np.inf, studentized).max(axis=-1)
    return greatest


def _paired_variances(values: Floats) -> Floats:
    """Return the variance of the difference on one seed for every pair, (..., candidates, candidates).

    It is the larger of the pair's own sample variance, which holds for any dependence of the two but has few degrees
    of freedom, and the sum of the candidates' variances beside the effect of the seed, each averaged with the mean
    over all candidates (with few seeds a mean of both is closer to the truth than either: Smyth, "Linear models and
    empirical Bayes methods", 2004).
    """
    seeds, candidates = values.shape[-2:]
    centered = values - values.mean(axis=-2, keepdims=True)
    covariances = np.swapaxes(centered, -1, -2) @ centered / (seeds - 1)
    variances = np.diagonal(covariances, axis1=-2, axis2=-1)
    of_pair: Floats = variances[..., :, None] + variances[..., None, :] - 2 * covariances
    if candidates < 3:
        return of_pair
    by_candidate = (_residuals(values) ** 2).sum(axis=-2) / (seeds - 1)
    mean = by_candidate.sum(axis=-1, keepdims=True) / (candidates - 1)
    own = np.clip((candidates * by_candidate - mean * (candidates - 1) / candidates) / (candidates - 2), 0, None)
    averaged = (own + mean) / 2
    larger: Floats = np.maximum(of_pair, averaged[..., :, None] + averaged[..., None, :])
    return larger


def _residuals(values: Floats) -> Floats:
    """Return values (..., seeds, candidates) without the effects of seeds and candidates."""
    centered = values - values.mean(axis=-2, keepdims=True)
    residuals: Floats = centered - centered.mean(axis=-1, keepdims=True)
    return residuals
