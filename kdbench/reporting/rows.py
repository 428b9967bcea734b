"""The rows of a table: the baselines and the labels of the matrix."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, final

from kdbench.formatting import format_configuration
from kdbench.reporting.configurations import (
    Choice,
    choose_configurations,
    differing_hyperparameters,
    list_labels,
)
from kdbench.reporting.matrix_results import MatrixResults
from kdbench.reporting.pair import Pair
from kdbench.reporting.selection import choice_column

BASELINES = {"teacher": "teacher", "scratch": "student from scratch"}


@final
@dataclass(frozen=True)
class Row:
    """A baseline, a label, or (with protocol.validation = 0) one configuration of a label."""

    kind: Literal["teacher", "scratch", "method"]
    name: str
    choices: Mapping[Pair, Choice] = field(hash=False)

    def choice_for(self, pair: Pair) -> Choice:
        """Return what the row shows on a pair; empty if the matrix has no such cell."""
        return self.choices.get(pair, Choice())


def make_rows(results: MatrixResults) -> tuple[Row, ...]:
    """Return the baselines, then the labels in the order of the matrix."""
    baselines = [_baseline_row(results, kind) for kind in ("teacher", "scratch")]
    methods = [row for label in list_labels(results) for row in _label_rows(results, label)]
    return tuple(row for row in (*baselines, *methods) if row.choices)


def _baseline_row(results: MatrixResults, kind: Literal["teacher", "scratch"]) -> Row:
    cells = [cell for cell in results.index.cells if cell.kind == kind]
    return Row(kind, BASELINES[kind], {Pair.of(cell): Choice.of(cell) for cell in cells})


def _label_rows(results: MatrixResults, label: str) -> list[Row]:
    choices = choose_configurations(results, label)
    incompatible = {Pair.of(cell) for cell in results.index.incompatible if cell.label == label} - choices.keys()
    incompatible_choices = {pair: Choice(is_incompatible=True) for pair in incompatible}
    can_choose = choice_column(results.index, results.selection) is not None
    if can_choose or all(len(choice.candidates) == 1 for choice in choices.values()):
        return [Row("method", label, {**incompatible_choices, **choices})]
    by_name: dict[str, dict[Pair, Choice]] = {}
    for pair, choice in choices.items():
        for cell, differing in zip(choice.candidates, differing_hyperparameters(choice.candidates), strict=True):
            name = f"{label} ({format_configuration(differing)})" if differing else label
            by_name.setdefault(name, {})[pair] = Choice.of(cell)
    return [Row("method", name, {**incompatible_choices, **one}) for name, one in by_name.items()]
