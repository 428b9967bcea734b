"""The cells of a matrix: what an expansion is made of."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, final

from kdbench.matrix.schema import Pair
from kdbench.matrix.spec import DataSpec, RunSpec

EVERYTHING = "everything"  # the label of an excluded pair, baselines included

Kind = Literal["teacher", "scratch", "method"]
PhaseName = Literal["search", "report"]


@final
@dataclass(frozen=True, eq=False)
class Cell:
    """A configuration of a method, or a baseline, on a data set and a pair: one run per seed.

    Attributes:
        teachers: the teacher of each seed, whether the runs read it or not: that of the pair, or the label's own.
        phase: whether the runs choose a configuration, on `protocol.search_seeds`, or are reported.
        swept: the values of the recipe that the matrix sweeps, such as `recipe.optimizer.lr`.
    """

    kind: Kind
    label: str
    dataset: DataSpec
    pair: Pair
    runs: Mapping[int, RunSpec]
    teachers: Mapping[int, RunSpec] = field(default_factory=dict)
    phase: PhaseName = "report"
    swept: Mapping[str, Any] = field(default_factory=dict)

    @property
    def first(self) -> RunSpec:
        """The run of the first seed."""
        return next(iter(self.runs.values()))


@final
@dataclass(frozen=True, eq=False)
class Sweep:
    """The configurations of a label on a data set and a pair, one of which is chosen on the search seeds.

    `candidates` has each configuration on the search seeds and on `seeds`; `chosen` is an index into it, or None.
    """

    candidates: tuple[tuple[Cell, Cell], ...]
    chosen: int | None = None

    @property
    def search(self) -> tuple[Cell, ...]:
        """The configurations on the search seeds."""
        return tuple(search for search, _ in self.candidates)

    @property
    def report(self) -> Cell:
        """The chosen configuration on `seeds`; the first one while none is chosen, which has as many runs."""
        return self.candidates[self.chosen or 0][1]

    @property
    def cells(self) -> tuple[Cell, ...]:
        """The cells that can be trained: those of the search, and the chosen one."""
        return self.search if self.chosen is None else (*self.search, self.report)

    def choose(self, chosen: int | None) -> "Sweep":
        """Return the sweep with a chosen configuration, or with none."""
        return replace(self, chosen=chosen)


@final
@dataclass(frozen=True)
class Excluded:
    """Seeds of a label that an `[[exclude]]` matches on a data set and a pair."""

    label: str
    dataset: str
    pair: Pair
    seeds: tuple[int, ...]
    why: str


@final
@dataclass(frozen=True)
class Expansion:
    """Cells and sweeps in the order of the matrix, the excluded cells, and warnings of keys without effect."""

    items: tuple[Cell | Sweep, ...]
    excluded: tuple[Excluded, ...]
    warnings: tuple[str, ...]

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All cells that are known before anything trains."""
        return tuple(flatten(self.items))


def every_cell(items: Iterable[Cell | Sweep]) -> Iterator[Cell]:
    """Yield all cells, of a sweep those of every configuration in both phases."""
    for item in items:
        if isinstance(item, Sweep):
            yield from (cell for both in item.candidates for cell in both)
        else:
            yield item


def flatten(items: tuple[Cell | Sweep, ...]) -> Iterator[Cell]:
    """Yield the cells that can be trained, in the order of the matrix."""
    for item in items:
        yield from item.cells if isinstance(item, Sweep) else (item,)
