"""The best candidate, and the candidates not significantly different from it."""

from collections.abc import Collection, Hashable
from typing import TYPE_CHECKING

from kdbench.analysis.statistics import paired_p_value

if TYPE_CHECKING:
    import pandas as pd

SIGNIFICANCE_LEVEL = 0.05  # of every test in a report


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


def tied_candidates(
    scores: "pd.DataFrame", failed: Collection[Hashable] = (), level: float = SIGNIFICANCE_LEVEL
) -> tuple[Hashable, ...]:
    """Return the columns that do not differ significantly from the best one, without the best one itself.

    The test is the two-sided paired t-test over common seeds, not corrected for multiple comparisons. A column that
    shares fewer than two seeds with the best one cannot be tested and is left out, as are those that
    `comparable_scores` leaves out.
    """
    compared = comparable_scores(scores, failed)
    best = best_candidate(compared)
    if best is None:
        return ()
    others = (name for name in compared.columns if name != best)
    p_values = {name: paired_p_value(compared[name], compared[best]) for name in others}
    return tuple(name for name, p in p_values.items() if p is not None and p >= level)
