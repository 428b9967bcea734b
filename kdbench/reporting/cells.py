"""Cells of numbers: from the runs of a row to a mean with its spread and its flags."""

from collections.abc import Sequence
from dataclasses import replace

from kdbench.analysis import Summary, best_candidate, summarize, tied_candidates
from kdbench.reporting.rows import Choice, Row
from kdbench.reporting.runs import Pair, Runs
from kdbench.reporting.table import NOTHING, TableCell, Unit


def number(runs: Runs, choice: Choice, column: str, unit: Unit) -> TableCell:
    """A metric over seeds, or the word that says why there is none."""
    if choice.chosen is None:
        return absent(runs, choice)
    found = summarize(runs.values(choice.chosen, column))
    if found is None:
        return absent(runs, choice)
    return _cell(found, unit, len(choice.chosen.runs))


def column(runs: Runs, rows: Sequence[Row], pair: Pair, metric: str, unit: Unit) -> list[TableCell]:
    """A metric of every row on one pair; the best student and what cannot be told from it are flagged."""
    choices = [row.at(pair) for row in rows]
    students = [None if row.kind == "teacher" else row.at(pair).chosen for row in rows]
    scores = runs.scores(students, metric)
    best, tied = best_candidate(scores), tied_candidates(scores)
    cells = [number(runs, choice, metric, unit) for choice in choices]
    return [replace(cell, best=place == best, tied=place in tied) for place, cell in enumerate(cells)]


def gain(runs: Runs, choice: Choice, baseline: Choice, column: str, unit: Unit) -> TableCell:
    """The mean of the differences to the baseline, seed by seed."""
    if choice.chosen is None or baseline.chosen is None:
        return absent(runs, choice)
    differences = runs.values(choice.chosen, column) - runs.values(baseline.chosen, column)
    found = summarize(differences)
    return absent(runs, choice) if found is None else _cell(found, unit, len(choice.chosen.runs))


def absent(runs: Runs, choice: Choice) -> TableCell:
    """Why there is no number: cannot run (n/a), failed, waiting, or nothing was asked for."""
    if choice.incompatible:
        return TableCell("n/a", missing=True)
    count = runs.count(run for cell in choice.tried for run in cell.runs.values())
    word = "pending" if count["pending"] else "failed" if count["failed"] else NOTHING
    return TableCell(word, missing=True)


def _cell(found: Summary, unit: Unit, planned: int) -> TableCell:
    return TableCell(mean=found.mean, spread=found.std, n=found.n, unit=unit, incomplete=found.n < planned)
