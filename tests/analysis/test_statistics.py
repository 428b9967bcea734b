"""Summaries, paired intervals and the paired t-test against numpy, scipy and statsmodels."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.weightstats import DescrStatsW

from kdbench.analysis import Interval, Summary, paired_interval, paired_p_value, summarize

MANY = 10**9  # test images: no rounding
SHARES = st.lists(st.floats(0, 1).map(lambda x: round(x, 4)), min_size=2, max_size=8)


def test_summary_by_hand() -> None:
    found = summarize(pd.Series([0.70, 0.72, 0.77], index=["0", "1", "2"]))
    assert found is not None
    assert found.mean == pytest.approx(0.73)
    assert found.std == pytest.approx(np.sqrt((0.03**2 + 0.01**2 + 0.04**2) / 2))
    assert found.n == 3


def test_one_seed_has_no_standard_deviation() -> None:
    assert summarize(pd.Series([0.5])) == Summary(mean=0.5, std=None, n=1)


def test_nan_is_ignored() -> None:
    assert summarize(pd.Series([0.25, np.nan, 0.75])) == Summary(0.5, pytest.approx(np.std([0.25, 0.75], ddof=1)), 2)
    assert summarize(pd.Series([np.nan, np.nan])) is None
    assert summarize(pd.Series([], dtype=float)) is None


@given(SHARES, st.randoms(use_true_random=False))
def test_interval_and_p_value_agree_with_scipy_and_statsmodels(scores: list[float], random: object) -> None:
    other = [round(random.random(), 4) for _ in scores]  # type: ignore[attr-defined]
    first, second = pd.Series(scores), pd.Series(other)
    if np.std(first - second, ddof=1) < 1e-5:
        return
    expected = stats.ttest_rel(scores, other)
    assert paired_p_value(first, second, MANY) == pytest.approx(expected.pvalue, rel=1e-6)
    assert paired_p_value(second, first, MANY) == pytest.approx(expected.pvalue, rel=1e-6)
    found = paired_interval(first, second, MANY)
    assert found is not None
    assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert (found.low, found.high) == pytest.approx(DescrStatsW(first - second).tconfint_mean(alpha=0.05))
    narrow = paired_interval(first, second, MANY, level=0.8)
    assert narrow is not None
    assert found.low < narrow.low < narrow.high < found.high


@given(SHARES, SHARES, st.integers(1, 10_000))
def test_an_interval_without_0_and_a_p_value_below_5_percent_are_the_same(
    one: list[float], other: list[float], test_images: int
) -> None:
    first, second = pd.Series(one), pd.Series(other)
    found, p_value = paired_interval(first, second, test_images), paired_p_value(first, second, test_images)
    assert found is not None
    assert p_value is not None
    assert found.low < found.high
    if abs(p_value - 0.05) > 1e-9:
        assert (p_value < 0.05) == (not found.low <= 0 <= found.high)


def test_only_common_seeds_are_paired() -> None:
    first = pd.Series([0.1, 0.5, 0.6, 0.9], index=["9", "0", "1", "2"])
    second = pd.Series([0.8, 0.4, 0.45, 0.1], index=["2", "0", "1", "7"])
    expected = stats.ttest_rel([0.5, 0.6, 0.9], [0.4, 0.45, 0.8])
    assert paired_p_value(first, second, MANY) == pytest.approx(expected.pvalue)
    assert paired_interval(first, second, MANY) == Interval(*map(pytest.approx, expected.confidence_interval(0.95)))


def test_fewer_than_two_common_seeds_have_neither_interval_nor_p_value() -> None:
    for pair in (
        (pd.Series([0.1, 0.2], index=[0, 1]), pd.Series([0.1, 0.2], index=[1, 2])),
        (pd.Series([0.1]), pd.Series([0.2])),
    ):
        assert paired_p_value(*pair, MANY) is None
        assert paired_interval(*pair, MANY) is None


@pytest.mark.parametrize("seeds", [2, 3, 5, 20, 1000])
def test_one_test_image_more_in_every_seed_proves_nothing(seeds: int) -> None:
    same = pd.Series([0.5] * seeds)
    assert paired_p_value(same, same, 300) == 1
    p_value, interval = paired_p_value(same + 1 / 300, same, 300), paired_interval(same + 1 / 300, same, 300)
    assert p_value is not None
    assert p_value > 0.01
    assert interval is not None
    assert interval.high - interval.low > 1 / 300


def test_a_test_set_without_images_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        paired_interval(pd.Series([0.1, 0.2]), pd.Series([0.1, 0.3]), 0)
