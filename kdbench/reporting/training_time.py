"""The training time of a run with the runs that it needs, except the teacher, which has a row of its own."""

import json
from typing import TYPE_CHECKING

from kdbench.reporting.matrix_results import MatrixResults
from kdbench.results.index import IndexCell

if TYPE_CHECKING:
    import pandas as pd


def needed_runs(results: MatrixResults, cell: IndexCell, seed: str, run: str) -> tuple[str, ...]:
    """Return a run and the runs that it needs, directly or not, each once; without the row's teacher and its needs."""
    teacher, found, pending = cell.teachers.get(seed), dict[str, None](), [run]
    while pending:
        if (one := pending.pop()) not in found:
            found[one] = None
            needs = json.loads(str(results.value(one, "needs") or "{}"))
            pending += [need for need in needs.values() if need != teacher]
    return tuple(found)


def training_seconds(results: MatrixResults, cell: IndexCell) -> "pd.Series[float]":
    """Return the seconds of each finished run and of the runs that it needs, indexed by seed."""
    import pandas as pd

    totals: dict[str, float] = {}
    for seed in results.values(cell, "train_seconds").index:
        seconds = [results.number(one, "train_seconds") for one in needed_runs(results, cell, seed, cell.runs[seed])]
        known = [one for one in seconds if one is not None]
        if len(known) == len(seconds):
            totals[seed] = sum(known)
    return pd.Series(list(totals.values()), pd.Index(list(totals), dtype=str), dtype=float)
