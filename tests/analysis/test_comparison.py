"""The candidates that cannot be excluded from being the best."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.regression.linear_model import OLS

from kdbench.analysis import compare_candidates, measure_spread
from kdbench.analysis.comparison import critical_values, exclude, greatest_excess, pooled_spread

TEST_IMAGES = 10_000


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def test_two_candidates_are_compared_by_the_paired_t_test() -> None:
    for seed in range(40):
        values = 0.9 + 0.005 * normal(6, 2, seed=seed) + [0.0, 0.006]
        p_value = stats.ttest_rel(values[:, 0], values[:, 1]).pvalue
        if abs(p_value - 0.05) > 0.005:  # the critical value is simulated
            assert exclude(values, TEST_IMAGES).any() == (p_value < 0.05)


@pytest.mark.parametrize(("candidates", "seeds"), [(3, 5), (8, 5), (20, 10)])
def test_critical_values_lie_between_one_comparison_and_bonferroni_with_the_pair_alone(
    candidates: int, seeds: int
) -> None:
    found = critical_values(candidates, seeds)
    assert (np.diff(found) >= 0).all()
    assert found[0] > stats.norm.isf(0.05)
    assert found[-1] < stats.t.isf(0.05 / (candidates * (candidates - 1)), seeds - 1)
    assert found[-1] > 0.9 * stats.studentized_range.ppf(0.95, candidates, (seeds - 1) * (candidates - 1)) / 2**0.5
    assert critical_values(candidates, seeds) is found


def test_the_spread_is_that_of_an_analysis_of_variance_and_the_mean_of_all_pairs() -> None:
    values = normal(5, 4) + 3 * normal(5, 1, seed=1)
    design = np.array(
        [
            [float(s == i) for i in range(5)] + [float(c == j) for j in range(1, 4)]
            for s, c in itertools.product(range(5), range(4))
        ]
    )
    assert pooled_spread(values) ** 2 == pytest.approx(2 * OLS(values.ravel(), design).fit().mse_resid)
    variances = [np.var(values[:, i] - values[:, j], ddof=1) for i, j in itertools.combinations(range(4), 2)]
    assert pooled_spread(values) ** 2 == pytest.approx(np.mean(variances))


def test_a_statistic_is_never_greater_than_that_of_the_pair_alone() -> None:
    values = normal(5, 6) * [1, 1, 1, 1, 1, 5]
    for candidate, found in enumerate(greatest_excess(values, 0)):
        alone = [
            stats.ttest_rel(values[:, other], values[:, candidate]).statistic
            for other in range(6)
            if other != candidate
        ]
        assert found <= max(alone) + 1e-9 or max(alone) < 0


@given(st.integers(0, 10_000), st.integers(2, 5), st.just(5))
@settings(max_examples=40, deadline=None)
def test_the_best_stays_and_order_shift_and_seed_effects_do_not_matter(seed: int, candidates: int, seeds: int) -> None:
    values = normal(seeds, candidates, seed=seed) + 3 * np.arange(candidates)
    found = exclude(values, TEST_IMAGES)
    assert not found[values.mean(axis=0).argmax()]
    order = np.random.default_rng(seed).permutation(candidates)
    assert (exclude(values[:, order], TEST_IMAGES) == found[order]).all()
    assert (exclude(values + 7 + normal(seeds, 1, seed=seed + 1), TEST_IMAGES) == found).all()


def test_steps_exclude_more_than_one_critical_value_for_all() -> None:
    values = 0.002 * normal(6, 8, seed=3) + np.array([0.9, 0.8935, *[0.5] * 6])
    statistics, critical = greatest_excess(values, 0), critical_values(8, 6)
    assert critical[1] < statistics[1] < critical[-1]
    assert exclude(values, TEST_IMAGES).tolist() == [False, *[True] * 7]


def test_one_image_more_in_every_seed_excludes_nothing() -> None:
    for seeds in (5, 20, 100):
        values = np.full((seeds, 4), 0.9)
        values[:, 0] += 1 / 500
        assert not exclude(values, 500).any()
        values[:, 0] += 9 / 500
        assert exclude(values, 500).tolist() == [False, True, True, True]


def frame(seeds: int, *means: float, seed: int = 0) -> pd.DataFrame:
    return pd.DataFrame(
        np.array(means) + 0.002 * normal(seeds, len(means), seed=seed), columns=[*"abcdef"[: len(means)]]
    )


def test_from_five_seeds_on_the_best_ties_with_what_cannot_be_excluded() -> None:
    found = compare_candidates(frame(5, 0.9, 0.8995, 0.85), TEST_IMAGES)
    assert (found.seeds, found.candidates, found.is_tested) == (5, 3, True)
    assert {found.best, *found.tied} == {"a", "b"}
    assert found.untested == ()


@pytest.mark.parametrize("seeds", [1, 2, 3, 4])
def test_with_fewer_than_five_seeds_nothing_is_tested(seeds: int) -> None:
    found = compare_candidates(frame(seeds, 0.9, 0.8995, 0.85), TEST_IMAGES)
    assert (found.tied, found.is_tested, found.seeds) == ((), False, seeds)
    assert (found.spread is None) == (seeds == 1)


def test_equal_means_share_the_lead_without_a_test() -> None:
    for seeds in (1, 3):
        scores = pd.DataFrame({"a": [0.1] * seeds, "b": [0.7] * seeds, "c": [0.7] * seeds})
        found = compare_candidates(scores, TEST_IMAGES)
        assert (found.best, found.tied, found.is_tested) == ("b", ("c",), False)
    orders = pd.DataFrame({"a": [0.1, 0.2, 0.3], "b": [0.3, 0.2, 0.1]})  # the sums differ by rounding
    assert compare_candidates(orders, TEST_IMAGES).tied == ("b",)


def test_candidates_that_lack_seeds_of_the_best_are_untested_and_named() -> None:
    scores = frame(6, 0.9, 0.895, 0.8985, 0.85)
    scores.loc[1, "b"] = np.nan
    scores["never"] = np.nan
    found = compare_candidates(scores, TEST_IMAGES)
    assert (found.best, found.untested, found.seeds, found.candidates) == ("a", ("b",), 6, 3)
    assert "b" not in found.tied
    complete = scores[["a", "c", "d"]]
    assert (found.tied, found.spread) == (
        compare_candidates(complete, TEST_IMAGES).tied,
        compare_candidates(complete, TEST_IMAGES).spread,
    )


def test_without_scores_or_with_one_candidate_there_is_nothing_to_compare() -> None:
    assert compare_candidates(pd.DataFrame(), TEST_IMAGES).best is None
    alone = compare_candidates(frame(6, 0.9), TEST_IMAGES)
    assert (alone.best, alone.tied, alone.spread, alone.is_tested) == ("a", (), None, False)


def test_many_candidates_are_compared_with_bounds_in_a_moment() -> None:
    bounds = critical_values(61, 5)
    assert bounds[-1] == pytest.approx(stats.t.isf(0.05 / (61 * 60), 4))
    assert (bounds > critical_values(60, 5)[-1]).sum() > 50
    found = compare_candidates(pd.DataFrame(0.9 + 0.001 * normal(5, 500)), TEST_IMAGES)
    assert (found.candidates, len(found.tied)) == (500, 499)


def test_candidates_with_equal_scores_count_once_in_the_spread() -> None:
    scores = pd.DataFrame({"a": [0.5, 0.7, 0.6], "b": [0.6, 0.7, 0.9]})
    repeated = scores.assign(c=scores["a"], d=scores["a"])
    assert measure_spread(repeated).spread == pytest.approx(measure_spread(scores).spread)
    assert measure_spread(repeated[["a", "c", "d"]]).spread is None
