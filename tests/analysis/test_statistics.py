"""Summaries and the paired t-test against numpy and scipy."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from kdbench.analysis import Summary, paired_p_value, summarize

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
def test_p_value_agrees_with_scipy(scores: list[float], random: object) -> None:
    other = [round(random.random(), 4) for _ in scores]  # type: ignore[attr-defined]
    first, second = pd.Series(scores), pd.Series(other)
    if np.std(first - second, ddof=1) < 1e-9:
        return
    expected = stats.ttest_rel(scores, other).pvalue
    assert paired_p_value(first, second) == pytest.approx(expected, rel=1e-9)
    assert paired_p_value(second, first) == pytest.approx(expected, rel=1e-9)


def test_only_common_seeds_are_paired() -> None:
    first = pd.Series([0.1, 0.5, 0.6, 0.9], index=["9", "0", "1", "2"])
    second = pd.Series([0.8, 0.4, 0.45, 0.1], index=["2", "0", "1", "7"])
    expected = stats.ttest_rel([0.5, 0.6, 0.9], [0.4, 0.45, 0.8]).pvalue
    assert paired_p_value(first, second) == pytest.approx(expected)


def test_fewer_than_two_common_seeds_have_no_p_value() -> None:
    assert paired_p_value(pd.Series([0.1, 0.2], index=[0, 1]), pd.Series([0.1, 0.2], index=[1, 2])) is None
    assert paired_p_value(pd.Series([0.1]), pd.Series([0.2])) is None


def test_differences_that_are_all_equal() -> None:
    same = pd.Series([0.25, 0.5, 0.75])
    assert paired_p_value(same, same) == 1.0
    assert paired_p_value(same, same + 0.125) == 0.0
