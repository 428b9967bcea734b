"""Statistics of one candidate over its seeds, and of two candidates over their common seeds."""

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
    std: float | None
    n: int


def summarize(scores: "pd.Series[float]") -> Summary | None:
    """Return mean and standard deviation of scores, one per seed; NaN is ignored.

    Returns None if there is no score.
    """
    import numpy as np

    values = scores.to_numpy(float)  # for a handful of seeds numpy is ten times faster than pandas
    known = values[~np.isnan(values)]
    if not len(known):
        return None
    std = float(known.std(ddof=1)) if len(known) > 1 else None
    return Summary(float(known.mean()), std, len(known))


def paired_p_value(first: "pd.Series[float]", second: "pd.Series[float]") -> float | None:
    """Return the two-sided p-value of the paired t-test over common seeds (the index).

    Student, "The probable error of a mean", 1908: t = mean(d) / (std(d) / sqrt(n)) with n - 1 degrees of freedom,
    where d are the differences. If all differences are equal, p is 1 where they are zero and 0 otherwise. Returns None
    for fewer than two common seeds.
    """
    differences = (first - second).dropna()
    if len(differences) < 2:
        return None
    mean, std = float(differences.mean()), float(differences.std(ddof=1))
    if std == 0:
        return 1.0 if mean == 0 else 0.0
    from scipy.special import stdtr  # importing scipy.stats takes 1.5 s

    t = mean / (std / math.sqrt(len(differences)))
    return 2 * float(stdtr(len(differences) - 1, -abs(t)))
