"""The configurations of a label: how they differ, and which one is shown."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, final

from kdbench.analysis import best_candidate
from kdbench.reporting.matrix_results import MatrixResults
from kdbench.reporting.pair import Pair
from kdbench.reporting.selection import choice_column
from kdbench.results.index import IndexCell


@final
@dataclass(frozen=True)
class Choice:
    """The configurations of a label on a pair, and the chosen one, which tables show.

    With `protocol.search_seeds` the candidates are the cells of the search, and `chosen` is the cell of the report
    phase. `chosen` is None if no configuration has a result yet, or if there is no configuration.
    """

    candidates: tuple[IndexCell, ...] = ()
    chosen: IndexCell | None = None
    is_incompatible: bool = False

    @classmethod
    def of(cls, cell: IndexCell) -> "Choice":
        """Return a choice with one candidate, which is chosen."""
        return cls((cell,), cell)

    @property
    def is_searched(self) -> bool:
        """Whether the candidates were trained on search seeds, which chose among them."""
        return any(cell.phase == "search" for cell in self.candidates)

    @property
    def chosen_candidate(self) -> IndexCell | None:
        """The chosen one of the candidates: `chosen` itself, or the cell of the search with its configuration."""
        if self.chosen is None or not self.is_searched:
            return self.chosen
        wanted = _canonical(self.chosen.hyperparameters)
        return next((cell for cell in self.candidates if _canonical(cell.hyperparameters) == wanted), None)


def choose_configurations(
    results: MatrixResults, label: str, kind: Literal["scratch", "method"] = "method"
) -> dict[Pair, Choice]:
    """Return the configurations of a label, or of the student from scratch, on each pair, with the chosen one."""
    candidates: dict[Pair, tuple[IndexCell, ...]] = {}
    for cell in results.index.cells:
        if (cell.kind, cell.label) == (kind, label):
            pair = Pair.of(cell)
            candidates[pair] = (*candidates.get(pair, ()), cell)
    return {pair: _choose(results, cells) for pair, cells in candidates.items()}


def _choose(results: MatrixResults, cells: tuple[IndexCell, ...]) -> Choice:
    searched = tuple(cell for cell in cells if cell.phase == "search")
    if searched:
        return Choice(searched, next((cell for cell in cells if cell.phase == "report"), None))
    if len(cells) == 1:
        return Choice.of(cells[0])
    column = choice_column(results.index, results.selection)
    failed = results.failed_positions(cells)
    best = None if column is None else best_candidate(results.scores(cells, column), failed)
    return Choice(cells, None if best is None else cells[int(str(best))])


def list_labels(results: MatrixResults) -> list[str]:
    """Return the labels of all methods in the order of the matrix, including those incompatible with some pair."""
    cells = [cell for cell in results.index.cells if cell.kind == "method"]
    order: list[str] = []
    for pair in results.pairs:
        _merge(order, [cell.label for cell in cells if Pair.of(cell) == pair])
    _merge(order, [*order, *(cell.label for cell in results.index.incompatible)])
    return order


def _merge(order: list[str], labels: Iterable[str]) -> None:
    """Insert into `order` the labels that it lacks, each after its predecessor."""
    position = 0
    for label in labels:
        if label not in order:
            order.insert(position, label)
        position = order.index(label) + 1


def differing_hyperparameters(cells: Iterable[IndexCell]) -> tuple[dict[str, Any], ...]:
    """Return, for each cell, the hyperparameters in which the cells differ."""
    configurations = [cell.hyperparameters for cell in cells]
    names = dict.fromkeys(name for one in configurations for name in one)
    differing = [name for name in names if len({_canonical(one.get(name)) for one in configurations}) > 1]
    return tuple({name: one[name] for name in differing if name in one} for one in configurations)


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, default=str)
