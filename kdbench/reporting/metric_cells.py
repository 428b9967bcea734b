"""Table cells computed from runs: mean, standard deviation and flags."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from kdbench.analysis import Summary, paired_interval, summarize
from kdbench.reporting.configurations import Choice
from kdbench.reporting.matrix_results import MatrixResults
from kdbench.reporting.pair import Pair
from kdbench.reporting.predictions import gain_over_images, teacher_agreement
from kdbench.reporting.rows import Row
from kdbench.reporting.significance import compare_rows
from kdbench.reporting.table import DASH, PERCENT, TableCell, Unit
from kdbench.results.index import IndexCell

if TYPE_CHECKING:
    import pandas as pd

Values = Callable[[IndexCell], "pd.Series[float]"]  # of a cell, indexed by seed


def metric_cell(results: MatrixResults, choice: Choice, column: str, unit: Unit) -> TableCell:
    """Return the mean of a metric over seeds, or the reason why there is none."""
    return mean_cell(results, choice, lambda cell: results.values(cell, column), unit)


def mean_cell(results: MatrixResults, choice: Choice, values: Values, unit: Unit) -> TableCell:
    """Return the mean over seeds of `values` of the chosen cell, or the reason why there is none."""
    summary = None if choice.chosen is None else summarize(values(choice.chosen))
    if choice.chosen is None or summary is None:
        return missing_cell(results, choice)
    return _cell(results, choice.chosen, summary, unit)


def metric_column(results: MatrixResults, rows: Sequence[Row], pair: Pair, column: str, unit: Unit) -> list[TableCell]:
    """Return a metric of every row on one pair, with flags for the best student, its ties and untested students."""
    found = compare_rows(results, rows, pair, column).comparison
    cells = [metric_cell(results, row.choice_for(pair), column, unit) for row in rows]
    return [
        replace(cell, is_best=n == found.best, is_tied=n in found.tied, is_untested=n in found.untested)
        for n, cell in enumerate(cells)
    ]


def gain_cell(results: MatrixResults, choice: Choice, baseline: Choice, column: str, unit: Unit) -> TableCell:
    """Return the mean over common seeds of the paired differences to the baseline, with its 95 % interval."""
    if choice.chosen is None or baseline.chosen is None:
        return missing_cell(results, choice)
    first, second = results.values(choice.chosen, column), results.values(baseline.chosen, column)
    summary = summarize(first - second)
    if summary is None:
        return missing_cell(results, choice)
    interval = None
    if summary.n > 1:
        interval = paired_interval(first, second, results.count_images(choice.chosen, column))
    return replace(_cell(results, choice.chosen, summary, unit), interval=interval)


def image_gain_cell(results: MatrixResults, choice: Choice, baseline: Choice, gain: TableCell) -> TableCell:
    """Return the interval of a gain over seeds and test images; blank without predictions or for one seed."""
    if choice.chosen is None or baseline.chosen is None or gain.mean is None:
        return TableCell()
    interval = gain_over_images(results, choice.chosen, baseline.chosen)
    return TableCell() if interval is None else replace(gain, std=None, interval=interval, hides_mean=True)


def agreement_cell(results: MatrixResults, choice: Choice) -> TableCell:
    """Return the mean agreement with the teacher of the row, or why there is none; blank without predictions."""
    cell = mean_cell(results, choice, lambda one: teacher_agreement(results, one), PERCENT)
    is_done = choice.chosen is not None and results.count_by_status(choice.chosen.runs.values())["done"] > 0
    return TableCell() if cell.mean is None and is_done else cell


def missing_cell(results: MatrixResults, choice: Choice) -> TableCell:
    """Return the reason why there is no number: n/a (incompatible), running, pending, or how the runs failed.

    Where the matrix has no cell there is a dash; where finished runs have no such value, nothing.
    """
    if choice.is_incompatible:
        return TableCell("n/a", is_missing=True)
    if not choice.candidates:
        return TableCell(DASH, is_missing=True)
    cells = (choice.chosen,) if choice.is_searched and choice.chosen else choice.candidates
    count = results.count_by_status(run for cell in cells for run in cell.runs.values())
    unfinished = [state for state in ("running", "pending") if count[state]]
    if choice.is_searched and choice.chosen is None and count["done"]:
        unfinished.append("pending")  # the search is finished, the runs that tables show are not planned yet
    failures = _count_failures(results, cells)
    return TableCell(unfinished[0] if unfinished else failures, is_missing=True)


def describe_failures(results: MatrixResults, cell: IndexCell) -> str:
    """Return how many of the runs failed, such as "2 of 3 diverged"; empty if none did.

    If other runs are not finished yet, the text has the number of finished ones: "n=1, 1 diverged".
    """
    failures, count = results.failures([cell]), results.count_by_status(cell.runs.values())
    if failures and (count["running"] or count["pending"]):
        return ", ".join([f"n={count['done']}", *(f"{number} {kind}" for kind, number in sorted(failures.items()))])
    return _count_failures(results, [cell])


def _count_failures(results: MatrixResults, cells: Sequence[IndexCell]) -> str:
    """Return how many of the runs of cells failed in which way; empty if none did."""
    parts = [f"{number} {kind}" for kind, number in sorted(results.failures(cells).items())]
    if not parts:
        return ""
    number, _, kind = parts[0].partition(" ")
    return ", ".join([f"{number} of {sum(len(cell.runs) for cell in cells)} {kind}", *parts[1:]])


def _cell(results: MatrixResults, cell: IndexCell, summary: Summary, unit: Unit) -> TableCell:
    return TableCell(
        mean=summary.mean,
        std=summary.std,
        n=summary.n,
        unit=unit,
        is_incomplete=summary.n < len(cell.runs),
        failures=describe_failures(results, cell),
    )
