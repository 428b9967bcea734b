"""Which rows a table has, and which configuration stands for a label on a pair."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, final

from kdbench.analysis import best_candidate
from kdbench.formatting import format_value
from kdbench.reporting.runs import Pair, Runs, pair_of
from kdbench.reporting.selection import criterion
from kdbench.results.index import IndexCell

NAMES = {"teacher": "teacher", "scratch": "student from scratch"}


@final
@dataclass(frozen=True)
class Choice:
    """What a row shows on a pair: the configurations that were tried and the one that is shown.

    `chosen` is None where no configuration has a result to be chosen by, and where nothing was tried.
    """

    tried: tuple[IndexCell, ...] = ()
    chosen: IndexCell | None = None
    incompatible: bool = False


@final
@dataclass(frozen=True)
class Row:
    """A baseline, a label of the matrix, or (where nothing may choose) one configuration of a label."""

    kind: Literal["teacher", "scratch", "method"]
    name: str
    choices: Mapping[Pair, Choice] = field(hash=False)

    def at(self, pair: Pair) -> Choice:
        """What the row shows on a pair."""
        return self.choices.get(pair, Choice())


def rows(runs: Runs) -> tuple[Row, ...]:
    """The baselines, then the labels in the matrix's order."""
    baselines = [_baseline(runs, kind) for kind in ("teacher", "scratch")]
    methods = [row for label in labels(runs) for row in _label_rows(runs, label)]
    return tuple(row for row in (*baselines, *methods) if row.choices)


def configuration(hyperparameters: Mapping[str, Any]) -> str:
    """Hyperparameters in words: "alpha = 0.9, temperature = 4"."""
    return ", ".join(f"{name} = {format_value(value)}" for name, value in hyperparameters.items())


def differences(tried: Iterable[IndexCell]) -> tuple[dict[str, Any], ...]:
    """Of each configuration, the hyperparameters in which the configurations differ."""
    configurations = [cell.hyperparameters for cell in tried]
    names = dict.fromkeys(name for one in configurations for name in one)
    differing = [name for name in names if len({_canonical(one.get(name)) for one in configurations}) > 1]
    return tuple({name: one[name] for name in differing if name in one} for one in configurations)


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _baseline(runs: Runs, kind: Literal["teacher", "scratch"]) -> Row:
    cells = [cell for cell in runs.index.cells if cell.kind == kind]
    return Row(kind, NAMES[kind], {pair_of(cell): Choice((cell,), cell) for cell in cells})


def labels(runs: Runs) -> list[str]:
    """All labels; one that cannot run on the first pair still keeps its place among the others."""
    cells = [cell for cell in runs.index.cells if cell.kind == "method"]
    order: list[str] = []
    for pair in runs.pairs:
        _merge(order, [cell.label for cell in cells if pair_of(cell) == pair])
    _merge(order, [*order, *(cell.label for cell in runs.index.incompatible)])
    return order


def _merge(order: list[str], labels: Iterable[str]) -> None:
    place = 0
    for label in labels:
        if label not in order:
            order.insert(place, label)
        place = order.index(label) + 1


def _label_rows(runs: Runs, label: str) -> list[Row]:
    choices = choices_of(runs, label)
    incompatible = {pair_of(cell) for cell in runs.index.incompatible if cell.label == label} - choices.keys()
    blank = {pair: Choice(incompatible=True) for pair in incompatible}
    if criterion(runs.index, runs.selection) is not None or all(len(one.tried) == 1 for one in choices.values()):
        return [Row("method", label, {**blank, **choices})]
    split: dict[str, dict[Pair, Choice]] = {}
    for pair, choice in choices.items():
        for cell, part in zip(choice.tried, differences(choice.tried), strict=True):
            split.setdefault(f"{label} ({configuration(part)})" if part else label, {})[pair] = Choice((cell,), cell)
    return [Row("method", name, {**blank, **shown}) for name, shown in split.items()]


def choices_of(runs: Runs, label: str) -> dict[Pair, Choice]:
    """The configurations of a label on each pair, and which of them the criterion chooses."""
    tried: dict[Pair, tuple[IndexCell, ...]] = {}
    for cell in runs.index.cells:
        if cell.kind == "method" and cell.label == label:
            tried[pair_of(cell)] = (*tried.get(pair_of(cell), ()), cell)
    return {pair: _choose(runs, cells) for pair, cells in tried.items()}


def _choose(runs: Runs, cells: tuple[IndexCell, ...]) -> Choice:
    if len(cells) == 1:
        return Choice(cells, cells[0])
    column = criterion(runs.index, runs.selection)
    place = None if column is None else best_candidate(runs.scores(cells, column))
    return Choice(cells, None if place is None else cells[int(str(place))])
