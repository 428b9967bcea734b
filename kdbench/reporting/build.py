"""All tables of a matrix, in their order."""

from typing import TYPE_CHECKING

from kdbench.reporting.alpha_sweep import find_alpha_sweeps
from kdbench.reporting.matrix_results import MatrixResults
from kdbench.reporting.predictions import PredictionReader
from kdbench.reporting.rows import make_rows
from kdbench.reporting.selection import Selection
from kdbench.reporting.table import Table
from kdbench.reporting.tables.accuracy import accuracy_table, gains_tables
from kdbench.reporting.tables.alpha import alpha_tables
from kdbench.reporting.tables.costs import costs_table
from kdbench.reporting.tables.hyperparameters import chosen_table, configuration_tables
from kdbench.reporting.tables.metrics import metrics_table
from kdbench.reporting.tables.missing import missing_tables
from kdbench.results.index import MatrixIndex

if TYPE_CHECKING:
    import pandas as pd


def build_tables(
    index: MatrixIndex,
    frame: "pd.DataFrame",
    selection: Selection = "last",
    predictions: PredictionReader | None = None,
) -> tuple[Table, ...]:
    """Return all tables of a matrix: accuracy; gains (with several pairs), metrics and costs by pair; alpha; others.

    Args:
        index: the cells of the matrix and the ids of their runs.
        frame: what `load_results` returns, one row per run; it is not changed.
        selection: the epoch whose weights are scored.
        predictions: reads the predictions of runs; None: there are none.

    Raises:
        ReportError: the matrix or the results do not support the selection.
    """
    results = MatrixResults(index, frame, selection, predictions)
    rows = make_rows(results)
    sweeps = tuple(find_alpha_sweeps(results))
    by_pair = [make(results, rows, pair) for pair in results.pairs for make in (metrics_table, costs_table)]
    chosen = chosen_table(results, rows)
    return (
        accuracy_table(results, rows),
        *gains_tables(results, rows),
        *by_pair,
        *alpha_tables(results, rows, sweeps),
        *((chosen,) if chosen.rows else ()),
        *configuration_tables(results, rows, sweeps),
        *missing_tables(results),
    )
