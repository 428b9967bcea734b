"""Labels with several values of alpha, the weight of the distillation term."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

from kdbench.formatting import format_configuration, format_value
from kdbench.reporting.configurations import (
    Choice,
    choose_configurations,
    differing_hyperparameters,
    list_labels,
)
from kdbench.reporting.matrix_results import MatrixResults
from kdbench.reporting.pair import Pair
from kdbench.reporting.rows import Row
from kdbench.reporting.table import DASH
from kdbench.results.index import IndexCell


@final
@dataclass(frozen=True)
class AlphaSweep:
    """The configurations of a label on a pair that differ in alpha, and possibly in other hyperparameters."""

    label: str
    pair: Pair
    alpha_name: str  # "alpha", or "<part>.alpha" in a sum
    other_names: tuple[str, ...]  # the other hyperparameters in which the configurations differ
    choice: Choice

    @property
    def alphas(self) -> tuple[float, ...]:
        """All values of alpha, ascending."""
        return tuple(sorted({self.alpha_of(cell) for cell in self.choice.candidates}))

    @property
    def groups(self) -> dict[tuple[str, ...], tuple[IndexCell, ...]]:
        """The configurations grouped by their other hyperparameters, in the order of the matrix; alpha ascends."""
        groups: dict[tuple[str, ...], tuple[IndexCell, ...]] = dict.fromkeys(
            map(self._other_values, self.choice.candidates), ()
        )
        for cell in sorted(self.choice.candidates, key=self.alpha_of):
            groups[self._other_values(cell)] += (cell,)
        return groups

    @property
    def curves(self) -> dict[str, tuple[IndexCell, ...]]:
        """One configuration per alpha, by the name of the curve.

        The other hyperparameters are those of the chosen configuration. Without a chosen one every group is a curve.
        """
        groups = self.groups
        if len(self.alphas) == len(self.choice.candidates):  # even if the others change together with alpha
            return {self.label: self.choice.candidates}
        if (chosen := self.choice.chosen_candidate) is not None:
            return {self.label: groups[self._other_values(chosen)]}
        return {
            f"{self.label} ({format_configuration(dict(zip(self.other_names, values, strict=True)))})": cells
            for values, cells in groups.items()
        }

    @property
    def has_hidden_configurations(self) -> bool:
        """Whether its curve leaves out configurations whose other hyperparameters are not the chosen ones."""
        return self.choice.chosen is not None and len(self.alphas) < len(self.choice.candidates)

    @property
    def row(self) -> Row:
        """The label on this pair alone."""
        return Row("method", self.label, {self.pair: self.choice})

    @property
    def common_configuration(self) -> str:
        """The hyperparameters that all configurations share, as text."""
        differing = (self.alpha_name, *self.other_names)
        first = self.choice.candidates[0].hyperparameters
        return format_configuration({name: first[name] for name in first if name not in differing})

    def alpha_of(self, cell: IndexCell) -> float:
        """Return the alpha of a configuration."""
        return float(cell.hyperparameters[self.alpha_name])

    def _other_values(self, cell: IndexCell) -> tuple[str, ...]:
        values = cell.hyperparameters
        return tuple(format_value(values[name]) if name in values else DASH for name in self.other_names)


def find_alpha_sweeps(results: MatrixResults) -> Iterator[AlphaSweep]:
    """Yield every label with several alphas, pair by pair; in a sum with several alphas the first one counts."""
    choices = {label: choose_configurations(results, label) for label in list_labels(results)}
    for pair in results.pairs:
        for label, by_pair in choices.items():
            if pair in by_pair and (sweep := _alpha_sweep(label, pair, by_pair[pair])) is not None:
                yield sweep


def _alpha_sweep(label: str, pair: Pair, choice: Choice) -> AlphaSweep | None:
    differing = differing_hyperparameters(choice.candidates)
    names = list(dict.fromkeys(name for one in differing for name in one))
    for name in names:
        if name.rpartition(".")[2] == "alpha" and all(_is_number(cell, name) for cell in choice.candidates):
            return AlphaSweep(label, pair, name, tuple(other for other in names if other != name), choice)
    return None


def _is_number(cell: IndexCell, name: str) -> bool:
    value = cell.hyperparameters.get(name)
    return isinstance(value, int | float) and not isinstance(value, bool)
