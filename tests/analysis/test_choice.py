"""The best candidate."""

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from kdbench.analysis import best_candidate


def test_the_best_has_the_highest_mean_and_is_the_first_of_equals() -> None:
    frame = pd.DataFrame({"a": [0.5, 0.7], "b": [0.75, 0.5], "c": [0.5, 0.75], "d": [0.1, 0.2]})
    assert best_candidate(frame) == "b"


def test_candidates_without_scores_are_ignored() -> None:
    assert best_candidate(pd.DataFrame({"a": [np.nan, np.nan], "b": [0.1, np.nan]})) == "b"
    assert best_candidate(pd.DataFrame({"a": [np.nan]})) is None
    assert best_candidate(pd.DataFrame()) is None


NAN = float("nan")


def test_a_candidate_with_a_failed_seed_is_not_the_best_while_a_complete_one_exists() -> None:
    frame = pd.DataFrame({"diverged": [0.99, NAN, NAN], "low": [0.5, 0.6, 0.7], "lower": [0.4, 0.6, 0.7]})
    assert best_candidate(frame) == "low"
    assert best_candidate(frame[["diverged"]]) == "diverged"


def test_a_failed_seed_that_no_candidate_has_finished_counts_too() -> None:
    frame = pd.DataFrame({"failed": [0.9, 0.9], "pending": [0.5, 0.6]})
    assert best_candidate(frame, failed=["failed"]) == "pending"
    assert best_candidate(frame, failed=["failed", "pending"]) == "failed"


def test_means_are_compared_over_the_same_seeds() -> None:
    frame = pd.DataFrame({"easy": [NAN, 0.8, 0.9], "hard": [0.1, 0.81, NAN], "short": [NAN, NAN, 0.99]})
    assert best_candidate(frame) == "hard"  # seed 1 is the only one that both have
    assert best_candidate(pd.DataFrame({"a": [0.1, NAN], "b": [NAN, 0.9]})) == "a"  # not comparable


@given(
    st.lists(st.lists(st.none() | st.floats(0, 1), min_size=3, max_size=3), min_size=1, max_size=5),
    st.sets(st.integers(0, 4)),
)
def test_the_best_is_sound_and_has_the_highest_mean_of_those_with_its_seeds(
    scores: list[list[float | None]], failed: set[int]
) -> None:
    frame = pd.DataFrame(dict(enumerate(scores)), dtype=float)
    best = best_candidate(frame, failed)
    known = [name for name in frame if frame[name].notna().any()]
    if best is None:
        assert not known
        return
    assert best not in failed or set(known) <= failed
    rivals = [name for name in known if name not in failed] or known
    assert frame[best].count() == frame[rivals].count().max()
    seeds = set(frame.index[frame[best].notna()])
    same = [name for name in rivals if set(frame.index[frame[name].notna()]) == seeds]
    if {name for name in rivals if frame[name].count() == len(seeds)} == set(same):
        assert frame[best].mean() >= max(frame[name].mean() for name in same) - 1e-12
