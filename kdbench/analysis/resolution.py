"""The smallest difference that a design can see: candidates, seeds and test images."""

import math
from bisect import bisect_left

from kdbench.analysis.comparison import FAMILY_WISE_ERROR, MIN_SEEDS
from kdbench.analysis.statistics import smallest_standard_error

POWER = 0.8
MAX_SEEDS = 1000
MAX_POOLED = 7  # candidates whose residuals count as degrees of freedom


def visible_difference(spread: float, seeds: int, candidates: int, test_images: int) -> float:
    """Return the smallest observed difference of two means that differs from chance, among all pairs of candidates.

    Args:
        spread: the standard deviation of the difference between two candidates on one seed, pooled over all pairs.
        seeds: the number of common seeds, at least 2.
        candidates: the number of candidates, at least 2.
        test_images: the number of test images.

    It is the paired t-test with the pooled spread at the level 5 % divided by the number of pairs (Bonferroni).

    Raises:
        ValueError: there are fewer than two seeds or candidates, or there is no test image.
    """
    _check(seeds, candidates)
    return _critical_value(seeds, candidates) * _standard_error(spread, seeds, test_images)


def detectable_difference(spread: float, seeds: int, candidates: int, test_images: int, power: float = POWER) -> float:
    """Return the true difference that exceeds `visible_difference` with the probability `power`.

    The studentized difference has a noncentral t distribution (Cohen, "Statistical Power Analysis", 1988, chapter 2).

    Raises:
        ValueError: there are fewer than two seeds or candidates, or there is no test image.
    """
    from scipy.special import nctdtrinc

    _check(seeds, candidates)
    critical = _critical_value(seeds, candidates)
    noncentrality = float(nctdtrinc(_degrees_of_freedom(seeds, candidates), 1 - power, critical))
    return noncentrality * _standard_error(spread, seeds, test_images)


def seeds_to_detect(difference: float, spread: float, candidates: int, test_images: int) -> int | None:
    """Return the smallest number of seeds, at least 5, whose `detectable_difference` is at most `difference`.

    Returns None if no number up to 1,000 suffices, as with too few test images.
    """
    numbers = range(MIN_SEEDS, MAX_SEEDS + 1)
    position = bisect_left(
        numbers, True, key=lambda n: detectable_difference(spread, n, candidates, test_images) <= difference
    )
    return numbers[position] if position < len(numbers) else None


def assumed_spread(test_images: int, disagreement: float) -> float:
    """Return the spread of the difference between two runs that differ in correctness on a share of the test images.

    On each of these images either run is right with equal probability, so the variance is disagreement / N, as in
    McNemar's test (1947). Trained networks vary about so (Jordan, 2023, arXiv:2304.01910), and two runs of one recipe
    disagree on about as many images as either gets wrong (Jiang et al., 2021, arXiv:2106.13799).
    """
    return math.sqrt(disagreement / test_images)


def _critical_value(seeds: int, candidates: int) -> float:
    from scipy.special import stdtrit

    level = FAMILY_WISE_ERROR / (candidates * (candidates - 1))
    return float(stdtrit(_degrees_of_freedom(seeds, candidates), 1 - level))


def _degrees_of_freedom(seeds: int, candidates: int) -> int:
    """Return the degrees of freedom with which the tests of `compare_candidates` have about the power stated.

    Its standard errors are pooled in part only, and with many candidates the smallest of them decide.
    """
    return (seeds - 1) * min(candidates - 1, MAX_POOLED)


def _standard_error(spread: float, seeds: int, test_images: int) -> float:
    return max(spread / math.sqrt(seeds), smallest_standard_error(test_images))


def _check(seeds: int, candidates: int) -> None:
    if seeds < 2 or candidates < 2:
        raise ValueError(f"seeds and candidates must be at least 2, got {seeds} seeds and {candidates} candidates")
