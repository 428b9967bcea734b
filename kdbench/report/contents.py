"""The tables of a report, in their order."""

from typing import TYPE_CHECKING

from kdbench.report.accuracy import accuracy
from kdbench.report.gaps import gaps
from kdbench.report.hyperparameters import chosen, tried
from kdbench.report.metrics import metrics
from kdbench.report.rows import rows
from kdbench.report.runs import Runs
from kdbench.report.selection import Selection
from kdbench.report.table import Table
from kdbench.results.index import MatrixIndex

if TYPE_CHECKING:
    import pandas as pd


def tables(index: MatrixIndex, frame: "pd.DataFrame", selection: Selection = "last") -> tuple[Table, ...]:
    """All tables of a matrix: accuracy first, then the metrics of each pair, the hyperparameters, and the gaps.

    `frame` has a row a run (runs of other matrices are ignored); no column of it is changed.

    Raises:
        ReportError: the matrix or the frame cannot serve the selection.
    """
    runs = Runs(index, frame, selection)
    lines = rows(runs)
    measured = [metrics(runs, lines, pair) for pair in runs.pairs]
    settings = [table for table in (chosen(runs, lines), *tried(runs, lines)) if table.rows]
    return (accuracy(runs, lines), *measured, *settings, *gaps(runs))
