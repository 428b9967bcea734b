"""Which candidate is best, and which are as good."""

from collections.abc import Hashable
from typing import TYPE_CHECKING

from kdbench.analysis.statistics import p_value

if TYPE_CHECKING:
    import pandas as pd

LEVEL = 0.05  # of every test in a report


def best(scores: "pd.DataFrame") -> Hashable | None:
    """The column with the highest mean over its seeds, the first of equals; None where no column has a score."""
    means = scores.mean().dropna()
    return None if means.empty else means.idxmax()


def leaders(scores: "pd.DataFrame", level: float = LEVEL) -> tuple[Hashable, ...]:
    """The best column and then all that the paired t-test cannot tell from it at `level`.

    A column that shares fewer than two seeds with the best cannot be tested, and does not lead.
    """
    leader = best(scores)
    if leader is None:
        return ()
    others = (name for name in scores.columns if name != leader and scores[name].notna().any())
    p_values = {name: p_value(scores[name], scores[leader]) for name in others}
    return (leader, *(name for name, p in p_values.items() if p is not None and p >= level))
