"""The candidates that are compared, and the best of them."""

from collections.abc import Collection, Hashable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def comparable_scores(scores: "pd.DataFrame", failed: Collection[Hashable] = ()) -> "pd.DataFrame":
    """Return the candidates that may be the best, with the seeds that all of them have.

    A candidate with a failed seed is left out while another one has a score; then every candidate with fewer scores
    than the most complete one. If these share no seed, the first one is left.

    Args:
        scores: NaN where a run failed or is not finished.
        failed: the candidates with a failed seed, where NaN alone does not show it.
    """
    known = scores.dropna(axis="columns", how="all")
    sound = known.drop(columns=[name for name in failed if name in known.columns])
    compared = known if sound.empty else sound
    counts = compared.count()
    most = compared.loc[:, counts == counts.max()]
    common = most.dropna()
    return most.iloc[:, :1].dropna() if common.empty else common


def best_candidate(scores: "pd.DataFrame", failed: Collection[Hashable] = ()) -> Hashable | None:
    """Return the candidate with the highest mean over the seeds that are compared; the first one if several have it.

    Returns None if no candidate has a score. `comparable_scores` says which candidates and seeds are compared.
    """
    compared = comparable_scores(scores, failed)
    return None if compared.empty else compared.mean().idxmax()
