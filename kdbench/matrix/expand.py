"""Expansion of a matrix to cells: every data set x pair x configuration, each with one run per seed."""

from collections.abc import Iterator, Sequence
from typing import final

from kdbench.errors import MatrixError
from kdbench.matrix.cells import Cell, Expansion, Sweep
from kdbench.matrix.exclusions import Exclusions
from kdbench.matrix.pair_cells import PairExpander
from kdbench.matrix.phases import report_phase, search_phase
from kdbench.matrix.resolve import Registry, Resolver
from kdbench.matrix.schema import MatrixSpec


def expand(matrix: MatrixSpec, registry: Registry) -> Expansion:
    """Return every cell of a matrix; the two baselines are the first cells of each pair.

    Raises:
        MatrixError: a name is unknown, or a value is invalid; the error names the key.
    """
    expander = _Expander(matrix, Resolver(matrix, registry))
    items = tuple(expander.items())
    expander.check_search(items)
    return Expansion(items, tuple(expander.exclusions.excluded), tuple(expander.warnings()))


@final
class _Expander:
    def __init__(self, matrix: MatrixSpec, resolver: Resolver) -> None:
        self.matrix = matrix
        self.resolver = resolver
        self.exclusions = Exclusions(matrix)

    def items(self) -> Iterator[Cell | Sweep]:
        report, search = report_phase(self.matrix), search_phase(self.matrix)
        for data in [self.resolver.dataset(name) for name in self.matrix.datasets]:
            for pair in self.matrix.pairs:
                if not self.exclusions.excludes_pair(data, pair):
                    expander = PairExpander(self.matrix, self.resolver, self.exclusions, (data, pair), report, search)
                    yield from expander.items()

    def check_search(self, items: Sequence[Cell | Sweep]) -> None:
        """Raise if there are search seeds, but nothing to search."""
        if self.matrix.protocol.search_seeds and items and not any(isinstance(item, Sweep) for item in items):
            raise MatrixError(
                f"{self.matrix.file}: protocol.search_seeds: no label has two or more configurations to choose from; "
                "give a list of values for a hyperparameter or a key of the recipe, or remove search_seeds"
            )

    def warnings(self) -> list[str]:
        """Return warnings of tables and rules that have no effect; call it after `items`."""
        unused = [*self._unused_tables(), *self.exclusions.unused(), *self.resolver.unused_overrides()]
        return [f"{self.matrix.file}: {key}: has no effect" for key in unused]

    def _unused_tables(self) -> list[str]:
        """Return the keys of data sets and networks that the matrix does not use."""
        networks = {name for pair in self.matrix.pairs for name in (pair.teacher, pair.student, *pair.peers)}
        return [
            *(f"dataset.{name}" for name in self.matrix.dataset if name not in self.matrix.datasets),
            *(f"network.{name}" for name in self.matrix.network if name not in networks),
        ]
