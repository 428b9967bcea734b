"""The tables of a report, in their order."""

from typing import TYPE_CHECKING

from kdbench.reporting.accuracy import accuracy
from kdbench.reporting.alpha import alphas
from kdbench.reporting.gaps import gaps
from kdbench.reporting.hyperparameters import chosen, tried
from kdbench.reporting.metrics import costs, metrics
from kdbench.reporting.rows import rows
from kdbench.reporting.runs import Runs
from kdbench.reporting.selection import Selection
from kdbench.reporting.sweeps import sweeps
from kdbench.reporting.table import Table
from kdbench.results.index import MatrixIndex

if TYPE_CHECKING:
    import pandas as pd


def tables(index: MatrixIndex, frame: "pd.DataFrame", selection: Selection = "last") -> tuple[Table, ...]:
    """All tables of a matrix: accuracy, then metrics and costs of each pair, alphas, hyperparameters, and the gaps.

    `frame` has a row a run (runs of other matrices are ignored); no column of it is changed.

    Raises:
        ReportError: the matrix or the frame cannot serve the selection.
    """
    runs = Runs(index, frame, selection)
    lines = rows(runs)
    swept = tuple(sweeps(runs))
    measured = [measure(runs, lines, pair) for pair in runs.pairs for measure in (metrics, costs)]
    configurations = [table for table in (chosen(runs, lines), *tried(runs, lines, swept)) if table.rows]
    return (accuracy(runs, lines), *measured, *alphas(runs, lines, swept), *configurations, *gaps(runs))
