"""Which labels were tried with several values of alpha, and beside which other hyperparameters."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

from kdbench.formatting import format_value
from kdbench.reporting.rows import Choice, Row, choices_of, configuration, differences, labels
from kdbench.reporting.runs import Pair, Runs
from kdbench.reporting.table import NOTHING
from kdbench.results.index import IndexCell


@final
@dataclass(frozen=True)
class Sweep:
    """The configurations of a label on a pair; they differ in the hyperparameter `alpha`, and perhaps in `others`."""

    label: str
    pair: Pair
    alpha: str  # "alpha", or "<part>.alpha" in a sum
    others: tuple[str, ...]
    choice: Choice

    @property
    def alphas(self) -> tuple[float, ...]:
        """Every value that was tried, ascending."""
        return tuple(sorted({self.value(cell) for cell in self.choice.tried}))

    @property
    def groups(self) -> dict[tuple[str, ...], tuple[IndexCell, ...]]:
        """The configurations by the values of the others, in the matrix's order; in each group alpha ascends."""
        found: dict[tuple[str, ...], tuple[IndexCell, ...]] = {}
        for cell in sorted(self.choice.tried, key=self.value):
            found[self._beside(cell)] = (*found.get(self._beside(cell), ()), cell)
        order = dict.fromkeys(map(self._beside, self.choice.tried))
        return {values: found[values] for values in order}

    @property
    def curves(self) -> dict[str, tuple[IndexCell, ...]]:
        """One configuration an alpha, by a name: those beside the chosen one; every group where nothing was chosen."""
        groups = self.groups
        if len(self.alphas) == len(self.choice.tried):  # also where the others move together with alpha
            return {self.label: self.choice.tried}
        if self.choice.chosen is not None:
            return {self.label: groups[self._beside(self.choice.chosen)]}
        return {
            f"{self.label} ({configuration(dict(zip(self.others, values, strict=True)))})": cells
            for values, cells in groups.items()
        }

    @property
    def held(self) -> bool:
        """Whether its one curve leaves out configurations beside which something else was chosen."""
        return self.choice.chosen is not None and len(self.alphas) < len(self.choice.tried)

    @property
    def row(self) -> Row:
        """The label on this pair alone."""
        return Row("method", self.label, {self.pair: self.choice})

    @property
    def fixed(self) -> str:
        """The hyperparameters that are the same in all configurations, in words."""
        same = self.choice.tried[0].hyperparameters
        return configuration({name: same[name] for name in same if name not in (self.alpha, *self.others)})

    def value(self, cell: IndexCell) -> float:
        """A configuration's alpha."""
        return float(cell.hyperparameters[self.alpha])

    def _beside(self, cell: IndexCell) -> tuple[str, ...]:
        given = cell.hyperparameters
        return tuple(format_value(given[name]) if name in given else NOTHING for name in self.others)


def sweeps(runs: Runs) -> Iterator[Sweep]:
    """Every label and pair with several alphas, pair by pair; of several alphas in a sum the first one leads."""
    choices = {label: choices_of(runs, label) for label in labels(runs)}
    for pair in runs.pairs:
        for label, found in choices.items():
            if pair in found:
                yield from _sweep(label, pair, found[pair])


def _sweep(label: str, pair: Pair, choice: Choice) -> Iterator[Sweep]:
    names = list(dict.fromkeys(name for part in differences(choice.tried) for name in part))
    for name in names:
        if name.rpartition(".")[2] == "alpha" and all(_numeric(cell, name) for cell in choice.tried):
            yield Sweep(label, pair, name, tuple(other for other in names if other != name), choice)
            return


def _numeric(cell: IndexCell, name: str) -> bool:
    value = cell.hyperparameters.get(name)
    return isinstance(value, int | float) and not isinstance(value, bool)
