"""Summaries and the paired t-test against numpy and scipy."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from kdbench.analysis import Summary, p_value, summary

SHARES = st.lists(st.floats(0, 1).map(lambda x: round(x, 4)), min_size=2, max_size=8)


def test_summary_by_hand() -> None:
    found = summary(pd.Series([0.70, 0.72, 0.77], index=["0", "1", "2"]))
    assert found is not None
    assert found.mean == pytest.approx(0.73)
    assert found.spread == pytest.approx(np.sqrt((0.03**2 + 0.01**2 + 0.04**2) / 2))
    assert found.n == 3


def test_one_seed_has_no_spread() -> None:
    assert summary(pd.Series([0.5])) == Summary(mean=0.5, spread=None, n=1)


def test_what_is_not_a_number_is_no_seed() -> None:
    assert summary(pd.Series([0.25, np.nan, 0.75])) == Summary(0.5, pytest.approx(np.std([0.25, 0.75], ddof=1)), 2)
    assert summary(pd.Series([np.nan, np.nan])) is None
    assert summary(pd.Series([], dtype=float)) is None


@given(SHARES, st.randoms(use_true_random=False))
def test_p_value_is_that_of_scipy(scores: list[float], random: object) -> None:
    other = [round(random.random(), 4) for _ in scores]  # type: ignore[attr-defined]
    first, second = pd.Series(scores), pd.Series(other)
    if np.std(first - second, ddof=1) < 1e-9:
        return
    expected = stats.ttest_rel(scores, other).pvalue
    assert p_value(first, second) == pytest.approx(expected, rel=1e-9)
    assert p_value(second, first) == pytest.approx(expected, rel=1e-9)


def test_only_common_seeds_are_paired() -> None:
    first = pd.Series([0.1, 0.5, 0.6, 0.9], index=["9", "0", "1", "2"])
    second = pd.Series([0.8, 0.4, 0.45, 0.1], index=["2", "0", "1", "7"])
    expected = stats.ttest_rel([0.5, 0.6, 0.9], [0.4, 0.45, 0.8]).pvalue
    assert p_value(first, second) == pytest.approx(expected)


def test_fewer_than_two_common_seeds_have_no_p_value() -> None:
    assert p_value(pd.Series([0.1, 0.2], index=[0, 1]), pd.Series([0.1, 0.2], index=[1, 2])) is None
    assert p_value(pd.Series([0.1]), pd.Series([0.2])) is None


def test_differences_without_spread() -> None:
    same = pd.Series([0.25, 0.5, 0.75])
    assert p_value(same, same) == 1.0
    assert p_value(same, same + 0.125) == 0.0
