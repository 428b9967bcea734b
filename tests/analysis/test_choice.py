"""The best candidate and those that are not distinguishable from it."""

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from kdbench.analysis import best, leaders


def test_best_is_the_highest_mean_and_the_first_of_equals() -> None:
    frame = pd.DataFrame({"a": [0.5, 0.7], "b": [0.75, 0.5], "c": [0.5, 0.75], "d": [0.1, 0.2]})
    assert best(frame) == "b"


def test_best_ignores_what_has_no_score() -> None:
    assert best(pd.DataFrame({"a": [np.nan, np.nan], "b": [0.1, np.nan]})) == "b"
    assert best(pd.DataFrame({"a": [np.nan]})) is None
    assert best(pd.DataFrame()) is None


def test_leaders_are_the_best_and_what_the_test_cannot_tell_from_it() -> None:
    frame = pd.DataFrame(
        {
            "worse": [0.70, 0.711, 0.722],  # every seed 0.2 lower, almost without spread
            "close": [0.91, 0.89, 0.93],
            "best": [0.90, 0.91, 0.923],
            "absent": [np.nan] * 3,
        }
    )
    frame["close"] -= 0.002
    assert (
        stats.ttest_rel(frame["worse"], frame["best"]).pvalue
        < 0.05
        < stats.ttest_rel(frame["close"], frame["best"]).pvalue
    )
    assert leaders(frame) == ("best", "close")


def test_what_cannot_be_tested_does_not_lead() -> None:
    frame = pd.DataFrame({"lone": [0.1, np.nan, np.nan], "best": [0.9, 0.91, 0.92], "low": [0.5, 0.51, 0.521]})
    assert leaders(frame) == ("best",)
    assert leaders(frame.head(1)) == ("best",)
    assert leaders(frame[["best"]].iloc[:0]) == ()


@given(st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=1, max_size=5), st.floats(0.001, 0.5))
def test_a_stricter_level_never_removes_a_leader(scores: list[list[float]], level: float) -> None:
    frame = pd.DataFrame(dict(enumerate(scores)))
    assert set(leaders(frame, level)) <= set(leaders(frame, level / 2))
    assert leaders(frame, level)[0] == frame.mean().idxmax()
