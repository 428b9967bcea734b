"""Statistics of one candidate over its seeds, and of two candidates over their common seeds."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    import pandas as pd

CONFIDENCE_LEVEL = 0.95  # of every interval in a report


@final
@dataclass(frozen=True)
class Summary:
    """Scores over seeds: mean, sample standard deviation (ddof 1; None for one seed), number of seeds."""

    mean: float
    std: float | None
    n: int


@final
@dataclass(frozen=True)
class Interval:
    """A confidence interval, in the unit of the scores."""

    low: float
    high: float


def summarize(scores: "pd.Series[float]") -> Summary | None:
    """Return mean and standard deviation of scores, one per seed; NaN is ignored.

    Returns None if there is no score.
    """
    import numpy as np

    values = scores.to_numpy(float)  # for a handful of seeds numpy is ten times faster than pandas
    known = values[~np.isnan(values)]
    if not len(known):
        return None
    std = float(known.std(ddof=1)) if len(known) > 1 else None
    return Summary(float(known.mean()), std, len(known))


def smallest_standard_error(test_images: int) -> float:
    """Return the least standard error of a mean difference of two scores that are shares of the same test images.

    A score is a count of images divided by their number N, so each of two scores is known to a rounding error with
    variance 1 / (12 N^2) (Sheppard, "On the calculation of the most probable values of frequency-constants", 1898).
    All seeds share the test images, so more seeds do not average it away: one image more in every seed is never
    more than 2.5 standard errors.

    Raises:
        ValueError: there is no test image.
    """
    if test_images < 1:
        raise ValueError(f"test_images must be at least 1, got {test_images}")
    return 1 / (math.sqrt(6) * test_images)


def paired_interval(
    first: "pd.Series[float]", second: "pd.Series[float]", test_images: int, level: float = CONFIDENCE_LEVEL
) -> Interval | None:
    """Return the confidence interval of the mean difference over common seeds (the index).

    Student, "The probable error of a mean", 1908: mean(d) ± t std(d) / sqrt(n) with the quantile t of n - 1 degrees of
    freedom, where d are the differences. The standard error is at least `smallest_standard_error`. Returns None for
    fewer than two common seeds.
    """
    from scipy.special import stdtrit

    paired = _mean_and_error(first, second, test_images)
    if paired is None:
        return None
    mean, error, n = paired
    margin = float(stdtrit(n - 1, (1 + level) / 2)) * error
    return Interval(mean - margin, mean + margin)


def paired_p_value(first: "pd.Series[float]", second: "pd.Series[float]", test_images: int) -> float | None:
    """Return the two-sided p-value of the paired t-test over common seeds (the index).

    It is below 0.05 exactly if the 95 % interval of `paired_interval` does not contain 0. Returns None for fewer than
    two common seeds.
    """
    from scipy.special import stdtr  # importing scipy.stats takes 1.5 s

    paired = _mean_and_error(first, second, test_images)
    if paired is None:
        return None
    mean, error, n = paired
    return 2 * float(stdtr(n - 1, -abs(mean / error)))


def _mean_and_error(
    first: "pd.Series[float]", second: "pd.Series[float]", test_images: int
) -> tuple[float, float, int] | None:
    """Return the mean difference over common seeds, its standard error, and the number of seeds."""
    differences = summarize(first - second)
    if differences is None or differences.std is None:
        return None
    error = max(differences.std / math.sqrt(differences.n), smallest_standard_error(test_images))
    return differences.mean, error, differences.n
