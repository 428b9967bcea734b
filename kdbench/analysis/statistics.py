"""One candidate over its seeds, and two candidates over the seeds they share."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    import pandas as pd


@final
@dataclass(frozen=True)
class Summary:
    """Scores over seeds: mean, sample standard deviation (ddof 1; None for one seed), number of seeds."""

    mean: float
    spread: float | None
    n: int


def summary(scores: "pd.Series[float]") -> Summary | None:
    """Mean and spread of scores, one a seed; NaN is no score. None where there is no score."""
    import numpy as np

    found = scores.to_numpy(float)  # pandas would take ten times as long for a handful of seeds
    known = found[~np.isnan(found)]
    if not len(known):
        return None
    spread = float(known.std(ddof=1)) if len(known) > 1 else None
    return Summary(float(known.mean()), spread, len(known))


def p_value(first: "pd.Series[float]", second: "pd.Series[float]") -> float | None:
    """The two-sided p-value of the paired t-test over common seeds (the index); None for fewer than two of them.

    Student, "The probable error of a mean", 1908: t = mean(d) / (std(d) / sqrt(n)) with n - 1 degrees of freedom.
    Differences that are all equal have no spread: p is 1 where they are zero and 0 elsewhere.
    """
    differences = (first - second).dropna()
    if len(differences) < 2:
        return None
    mean, spread = float(differences.mean()), float(differences.std(ddof=1))
    if spread == 0:
        return 1.0 if mean == 0 else 0.0
    from scipy.special import stdtr  # scipy.stats would cost a second and a half

    t = mean / (spread / math.sqrt(len(differences)))
    return 2 * float(stdtr(len(differences) - 1, -abs(t)))
