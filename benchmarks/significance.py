"""Show on simulated tables that the statistics of a report hold what its captions promise.

    python benchmarks/significance.py [--tables 2000] [--test-images 2000]

Every table has scores of equal methods: shares of the same test images, with an effect of the seed that all methods
share, and standard deviations that differ between methods. Printed for 5, 10 and 20 methods and 5 and 10 seeds:

- the family-wise error: how often a table excludes any method from the bold ones although all are equal, for kdbench's
  procedure and for four others, with mild differences in variance and (hard) with a quarter of the methods four times
  as noisy as the others. Requirement: at most 6 % for kdbench's;
- the power: how often a method is excluded that is worse than the best one by the effect in the second line;
- the coverage of the 95 % intervals of gains. Requirement: 93 to 97 %;
- the power for the difference that a report states as its resolution, which should be near 80 %;
- the smallest p-value of one test image more in every seed. Requirement: at least 1e-6.

The procedures: uncorrected paired t-tests with the best one; Holm's correction over all pairs; Tukey's studentized
range on residuals without seed effects; Dunnett-type comparisons with the best one, whose error is 5 % for each
method. Sign flips cannot reject anything with 5 seeds: their smallest two-sided p-value is 2 / 2^5 = 6.25 %.
"""

import argparse
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from kdbench.analysis import detectable_difference, paired_interval, paired_p_value
from kdbench.analysis.comparison import critical_values, exclude, greatest_excess, pooled_spread
from kdbench.analysis.statistics import smallest_standard_error

Array = np.ndarray[Any, Any]
ACCURACY, SEED_EFFECT, DEVIATION, EFFECT = 0.9, 0.005, 0.005, 0.01
HARD = (4.0, 1.0, 1.0, 1.0)


def main() -> None:
    """Print the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tables", type=int, default=2000)
    parser.add_argument("--test-images", type=int, default=2000)
    args = parser.parse_args()
    _print(
        f"{args.tables} tables, {args.test_images} test images; standard deviations over seeds about "
        f"{100 * DEVIATION:g} points\npower: one method better than all others by {100 * EFFECT:g} points"
    )
    _print(_line("methods", "seeds", "measured", *PROCEDURES))
    for methods in (5, 10, 20):
        for seeds in (5, 10):
            for name, shares in measure(args.tables, args.test_images, methods, seeds).items():
                _print(_line(methods, seeds, name, *(f"{100 * share:.1f} %" for share in shares.values())))
    _print("\n" + _line("methods", "seeds", "coverage", "resolution", "power for it"))
    for methods in (5, 10, 20):
        for seeds in (5, 10):
            covered = coverage(args.tables, args.test_images, methods, seeds)
            difference, power = resolution(args.tables, args.test_images, methods, seeds)
            shown = (f"{100 * covered:.1f} %", f"{100 * difference:.2f} points", f"{100 * power:.1f} %")
            _print(_line(methods, seeds, *shown))
    smallest = min(smallest_p_value(args.test_images, seeds) for seeds in range(2, 101))
    _print(f"\none test image more in each of 2 to 100 seeds: smallest p = {smallest:.3g}")


def measure(tables: int, test_images: int, methods: int, seeds: int) -> dict[str, dict[str, float]]:
    """Return family-wise error and power of every procedure."""
    mild, hard = (simulate(tables, test_images, methods, seeds, one) for one in (None, HARD))
    better = simulate(tables, test_images, methods, seeds, None, gain=EFFECT)
    return {
        "error": {name: family_wise_error(one(mild, test_images)) for name, one in PROCEDURES.items()},
        "error (hard)": {name: family_wise_error(one(hard, test_images)) for name, one in PROCEDURES.items()},
        "power": {name: float(one(better, test_images)[:, 1:].mean()) for name, one in PROCEDURES.items()},
    }


def simulate(
    tables: int,
    test_images: int,
    methods: int,
    seeds: int,
    profile: tuple[float, ...] | None = None,
    gain: float = 0.0,
) -> Array:
    """Return scores (tables, seeds, methods); the first method is better by `gain`, all others are equal.

    The standard deviations of the methods are a repeated profile, or log-normal with three quarters between 0.7 and
    1.5 times the median.
    """
    random = np.random.default_rng([methods, seeds])
    scales = np.exp(random.normal(0, 0.33, (tables, 1, methods))) if profile is None else np.resize(profile, methods)
    noise = DEVIATION * scales * random.standard_normal((tables, seeds, methods))
    scores = ACCURACY + SEED_EFFECT * random.standard_normal((tables, seeds, 1)) + noise
    scores[..., 0] += gain
    return np.round(scores * test_images) / test_images


def family_wise_error(excluded: Array) -> float:
    """Return the share of tables (T, methods) that exclude any of equal methods."""
    return float(excluded.any(axis=1).mean())


def coverage(tables: int, test_images: int, methods: int, seeds: int) -> float:
    """Return how often the interval of a gain contains the true gain, 0."""
    scores = simulate(tables, test_images, methods, seeds)
    intervals = [paired_interval(pd.Series(one[:, 1]), pd.Series(one[:, 0]), test_images) for one in scores]
    return float(np.mean([one is not None and one.low <= 0 <= one.high for one in intervals]))


def resolution(tables: int, test_images: int, methods: int, seeds: int) -> tuple[float, float]:
    """Return the difference that a report states as visible, and how often it is seen, with equal variances."""
    spread = float(np.sqrt(2)) * DEVIATION
    difference = detectable_difference(spread, seeds, methods, test_images)
    scores = simulate(tables, test_images, methods, seeds, (1.0,), gain=difference)
    return difference, float(exclude(scores, test_images)[:, 1:].mean())


def smallest_p_value(test_images: int, seeds: int) -> float:
    """Return the p-value of one test image more in every seed."""
    scores = pd.Series([ACCURACY] * seeds)
    p_value = paired_p_value(scores + 1 / test_images, scores, test_images)
    assert p_value is not None
    return p_value


def uncorrected(scores: Array, test_images: int) -> Array:
    """Return which methods differ from the best one in a paired t-test at the 5 % level."""
    return _p_values_with_best(scores) < 0.05


def holm(scores: Array, test_images: int) -> Array:
    """Return which methods differ from the best one in paired t-tests of all pairs with Holm's correction."""
    methods = scores.shape[-1]
    rows, columns = np.triu_indices(methods, 1)
    p_values = _paired_p_values(scores[..., rows], scores[..., columns])
    order = np.argsort(p_values, axis=1)
    limits = 0.05 / np.arange(len(rows), 0, -1)
    sorted_rejected = np.logical_and.accumulate(np.take_along_axis(p_values, order, 1) < limits, axis=1)
    rejected = np.zeros_like(sorted_rejected)
    np.put_along_axis(rejected, order, sorted_rejected, 1)
    best = scores.mean(axis=1).argmax(axis=1)[:, None]
    excluded = np.zeros((len(scores), methods), dtype=bool)
    for pair, (row, column) in enumerate(zip(rows, columns, strict=True)):
        excluded[:, row] |= rejected[:, pair] & (best[:, 0] == column)
        excluded[:, column] |= rejected[:, pair] & (best[:, 0] == row)
    return excluded


def studentized_range(scores: Array, test_images: int) -> Array:
    """Return which methods are below the best one by Tukey's honestly significant difference, with pooled variance."""
    seeds, methods = scores.shape[1:]
    quantile = stats.studentized_range.ppf(0.95, methods, (seeds - 1) * (methods - 1)) / np.sqrt(2)
    spreads = np.array([pooled_spread(one) for one in scores])
    means = scores.mean(axis=1)
    return means.max(axis=1, keepdims=True) - means > quantile * spreads[:, None] / np.sqrt(seeds)


def with_the_best(scores: Array, test_images: int) -> Array:
    """Return which methods are excluded if the error is 5 % for each of them instead of for all together."""
    critical = critical_values(scores.shape[2], scores.shape[1])[0]
    return greatest_excess(scores, smallest_standard_error(test_images)) > critical


def _p_values_with_best(scores: Array) -> Array:
    best = scores.mean(axis=1).argmax(axis=1)[:, None, None]
    return _paired_p_values(np.take_along_axis(scores, best, 2), scores)


def _paired_p_values(first: Array, second: Array) -> Array:
    differences = first - second
    seeds = differences.shape[1]
    errors = np.maximum(differences.std(axis=1, ddof=1) / np.sqrt(seeds), 1e-12)
    return 2 * stats.t.sf(np.abs(differences.mean(axis=1)) / errors, seeds - 1)


PROCEDURES: dict[str, Callable[[Array, int], Array]] = {
    "kdbench": exclude,
    "uncorrected": uncorrected,
    "Holm": holm,
    "Tukey": studentized_range,
    "with the best": with_the_best,
}


def _line(*columns: object) -> str:
    return "".join(f"{column:>14}" for column in map(str, columns))


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
