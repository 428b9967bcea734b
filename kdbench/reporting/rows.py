"""The rows of a table: the baselines and the labels of the matrix."""

from collections.abc import Iterable, Mapping, Sequence
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
from kdbench.results.index import IndexCell

BASELINES = {"teacher": "teacher", "scratch": "student from scratch"}

Kind = Literal["teacher", "scratch", "method"]


@final
@dataclass(frozen=True)
class Row:
    """A baseline, a label, or (with protocol.validation = 0) one configuration of a label."""

    kind: Kind
    name: str
    choices: Mapping[Pair, Choice] = field(hash=False)

    def choice_for(self, pair: Pair) -> Choice:
        """Return what the row shows on a pair; empty if the matrix has no such cell."""
        return self.choices.get(pair, Choice())


def make_rows(results: MatrixResults) -> tuple[Row, ...]:
    """Return the baselines, then the labels in the order of the matrix.

    The baselines are the pair's teacher, the teachers that some labels have for themselves, and the student from
    scratch.
    """
    methods = [row for label in list_labels(results) for row in _label_rows(results, label)]
    scratch = choose_configurations(results, "scratch", "scratch")
    return (*_teacher_rows(results), *_rows(results, "scratch", BASELINES["scratch"], scratch), *methods)


def find_baseline(rows: Iterable[Row], pair: Pair) -> Choice:
    """Return the student from scratch, from which gains are measured; empty if there is none, or none is chosen."""
    found = [row.choice_for(pair) for row in rows if row.kind == "scratch" and pair in row.choices]
    return found[0] if len(found) == 1 else Choice()


def find_teacher(rows: Iterable[Row], pair: Pair) -> IndexCell | None:
    """Return the cell of the pair's own teacher; None if there is none."""
    teachers = (row.choice_for(pair).chosen for row in rows if row.kind == "teacher")
    return next((cell for cell in teachers if cell is not None and cell.label == BASELINES["teacher"]), None)


def _teacher_rows(results: MatrixResults) -> list[Row]:
    """Return a row per label of teachers; labels with the same runs share a row."""
    by_label: dict[str, dict[Pair, Choice]] = {}
    for cell in results.index.cells:
        if cell.kind == "teacher" and cell.phase == "report":
            by_label.setdefault(cell.label, {})[Pair.of(cell)] = Choice.of(cell)
    labels: dict[tuple[tuple[Pair, tuple[str, ...]], ...], list[str]] = {}
    for label, choices in by_label.items():
        runs = tuple((pair, tuple(cell.runs.values())) for pair, one in choices.items() for cell in one.candidates)
        labels.setdefault(runs, []).append(label)
    rows = [Row("teacher", _join_labels(same), by_label[same[0]]) for same in labels.values()]
    return sorted(rows, key=lambda row: row.name != BASELINES["teacher"])


def _join_labels(labels: Sequence[str]) -> str:
    """Return one name for teachers with the same runs, such as "teacher of vanilla, dkd"."""
    first, *others = labels
    return ", ".join([first, *(label.removeprefix("teacher of ") for label in others)])


def _label_rows(results: MatrixResults, label: str) -> list[Row]:
    choices = choose_configurations(results, label)
    incompatible = {Pair.of(cell) for cell in results.index.incompatible if cell.label == label} - choices.keys()
    return _rows(results, "method", label, {**{pair: Choice(is_incompatible=True) for pair in incompatible}, **choices})


def _rows(results: MatrixResults, kind: Kind, name: str, choices: Mapping[Pair, Choice]) -> list[Row]:
    """Return one row, or one per configuration if none can be chosen."""
    can_choose = choice_column(results.index, results.selection) is not None
    if can_choose or all(len(choice.candidates) <= 1 for choice in choices.values()):
        return [Row(kind, name, choices)] if choices else []
    without_cells = {pair: choice for pair, choice in choices.items() if not choice.candidates}
    by_name: dict[str, dict[Pair, Choice]] = {}
    for pair, choice in choices.items():
        for cell, differing in zip(choice.candidates, differing_hyperparameters(choice.candidates), strict=True):
            full_name = f"{name} ({format_configuration(differing)})" if differing else name
            by_name.setdefault(full_name, {})[pair] = Choice.of(cell)
    return [Row(kind, full_name, {**without_cells, **one}) for full_name, one in by_name.items()]
