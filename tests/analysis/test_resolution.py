"""Visible and detectable differences against statsmodels, and by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.power import TTestPower

from kdbench.analysis import assumed_spread, detectable_difference, seeds_to_detect, visible_difference

MANY = 10**9  # test images: no rounding


@pytest.mark.parametrize("seeds", [2, 5, 12])
def test_two_candidates_agree_with_the_power_of_a_paired_t_test(seeds: int) -> None:
    spread = 0.006
    found = detectable_difference(spread, seeds, 2, MANY)
    assert TTestPower().power(found / spread, seeds, 0.025, alternative="larger") == pytest.approx(0.8, abs=1e-3)
    assert visible_difference(spread, seeds, 2, MANY) == pytest.approx(
        stats.t.isf(0.025, seeds - 1) * spread / math.sqrt(seeds)
    )


def test_the_number_of_seeds_agrees_with_statsmodels() -> None:
    needed = TTestPower().solve_power(0.005 / 0.006, power=0.8, alpha=0.025, alternative="larger")
    assert seeds_to_detect(0.005, 0.006, 2, MANY) == math.ceil(needed)
    assert seeds_to_detect(0.5, 0.006, 2, MANY) == 5


@given(st.floats(1e-4, 0.1), st.integers(2, 30), st.integers(2, 40))
def test_more_seeds_see_more_and_more_candidates_see_less(spread: float, seeds: int, candidates: int) -> None:
    here = detectable_difference(spread, seeds, candidates, MANY)
    assert visible_difference(spread, seeds, candidates, MANY) < here
    assert detectable_difference(spread, seeds + 1, candidates, MANY) < here
    assert detectable_difference(2 * spread, seeds, candidates, MANY) == pytest.approx(2 * here)
    if candidates >= 8:
        assert detectable_difference(spread, seeds, candidates + 1, MANY) > here


def test_no_number_of_seeds_replaces_test_images() -> None:
    assert seeds_to_detect(0.005, 0.001, 9, 100) is None
    assert detectable_difference(0, 500, 9, 100) > 1 / 100


def test_the_assumed_spread_is_that_of_random_disagreement() -> None:
    random = np.random.default_rng(0)
    disagree = random.random((4000, 500)) < 0.1
    differences = (disagree * random.choice([-1, 1], (4000, 500))).mean(axis=1)
    assert assumed_spread(500, 0.1) == pytest.approx(differences.std(), rel=0.05)


def test_one_seed_and_one_candidate_are_refused() -> None:
    with pytest.raises(ValueError, match="got 1 seeds"):
        visible_difference(0.01, 1, 3, 100)
    with pytest.raises(ValueError, match="1 candidates"):
        detectable_difference(0.01, 5, 1, 100)
