"""The best candidate, and the candidates not significantly different from it."""

from collections.abc import Hashable
from typing import TYPE_CHECKING

from kdbench.analysis.statistics import paired_p_value

if TYPE_CHECKING:
    import pandas as pd

SIGNIFICANCE_LEVEL = 0.05  # of every test in a report


def best_candidate(scores: "pd.DataFrame") -> Hashable | None:
    """Return the column with the highest mean over its seeds; the first one if several have it.

    Returns None if no column has a score.
    """
    means = scores.mean().dropna()
    return None if means.empty else means.idxmax()


def tied_candidates(scores: "pd.DataFrame", level: float = SIGNIFICANCE_LEVEL) -> tuple[Hashable, ...]:
    """Return the columns that do not differ significantly from the best one, without the best one itself.

    The test is the two-sided paired t-test over common seeds, not corrected for multiple comparisons. A column that
    shares fewer than two seeds with the best one cannot be tested and is left out.
    """
    best = best_candidate(scores)
    if best is None:
        return ()
    others = (name for name in scores.columns if name != best)
    p_values = {name: paired_p_value(scores[name], scores[best]) for name in others}
    return tuple(name for name, p in p_values.items() if p is not None and p >= level)
