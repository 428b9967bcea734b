"""Planning: a matrix is expanded to runs, and every cell is checked against methods, networks and data sets."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import final

from kdbench.errors import DataError
from kdbench.garbage_collection import gc_paused
from kdbench.matrix import Cell, Excluded, MatrixSpec, RunSpec, Sweep, expand
from kdbench.matrix.cells import every_cell, flatten
from kdbench.matrix.order import sort_runs
from kdbench.matrix.plan_digest import plan_digest
from kdbench.plan.compatible import Incompatible, check_items
from kdbench.plan.index_cells import index_cell, index_excluded, index_incompatible
from kdbench.plan.registry import LocalRegistry
from kdbench.results import MatrixIndex, Training


@final
@dataclass(frozen=True)
class Plan:
    """The runs of a matrix on this machine. Every cell is checked; nothing is trained."""

    matrix: MatrixSpec
    items: tuple[Cell | Sweep, ...]
    incompatible: tuple[Incompatible, ...]
    excluded: tuple[Excluded, ...]
    warnings: tuple[str, ...]
    trainings: Mapping[str, Training] = field(default_factory=dict)  # what cells train on, by `training_key`
    operations: Mapping[tuple[str, str], float] = field(default_factory=dict)  # for an image, by data set and network
    provisional: Mapping[str, str] = field(default_factory=dict)  # data sets whose files are missing -> message

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """The cells that can be trained now: of a sweep those of the search, and the chosen configuration."""
        return tuple(flatten(self.items))

    @property
    def sweeps(self) -> tuple[Sweep, ...]:
        """The labels whose configuration is chosen on the search seeds, on each data set and pair."""
        return tuple(item for item in self.items if isinstance(item, Sweep))

    @property
    def undecided(self) -> tuple[Sweep, ...]:
        """The sweeps of which no configuration is chosen."""
        return tuple(sweep for sweep in self.sweeps if sweep.chosen is None)

    def choose(self, choice: Callable[[Sweep], int | None]) -> "Plan":
        """Return the plan with the choice of each sweep: an index, or None if there is none."""
        items = [item.choose(choice(item)) if isinstance(item, Sweep) else item for item in self.items]
        return replace(self, items=tuple(items))

    def choose_first(self) -> "Plan":
        """Return the plan with a configuration of every sweep; it has as many runs as with the best ones."""
        return self.choose(lambda sweep: sweep.chosen or 0)

    @cached_property
    def runs(self) -> tuple[RunSpec, ...]:
        """All runs and those that they need, without duplicates: first those that others need, then by seed."""
        return sort_runs(run for cell in self.cells for run in cell.runs.values())

    @cached_property
    def teachers(self) -> frozenset[str]:
        """The ids of the runs that other runs need."""
        return frozenset(need.id for run in self.runs for _, need in run.needs)

    @property
    def _contents(self) -> dict[str, str | None]:
        """The fingerprint of each data set, by name."""
        cells = [*self.cells, *(i.cell for i in self.incompatible)]
        return {cell.dataset.name: cell.dataset.fingerprint for cell in cells}

    def index(self) -> MatrixIndex:
        """Return the index of the matrix, which the results folder keeps.

        Raises:
            DataError: the plan is provisional, so its runs have no final ids.
        """
        if self.provisional:
            missing = "; ".join(self.provisional.values())
            raise DataError(f"a provisional plan cannot be run, because data sets are missing: {missing}")
        protocol = self.matrix.protocol
        return MatrixIndex(
            name=self.matrix.name,
            file=self.matrix.file,
            digest="" if any(map(_reads_files, self.runs)) else plan_digest(self.matrix, self._contents),
            validation=protocol.validation,
            track_test=protocol.track_test,
            cells=tuple(map(index_cell, self.cells)),
            incompatible=tuple(index_incompatible(i.cell, i.reason) for i in self.incompatible),
            excluded=tuple(map(index_excluded, self.excluded)),
            needed=tuple(run.id for run in self.runs if run.id in self.teachers),
            trainings=self.trainings,
            seeds=self.matrix.seeds,
            search_seeds=protocol.search_seeds,
            refit=protocol.refit,
            undecided=len(self.undecided),
            split_seed=protocol.split_seed,
            teacher_seed=protocol.teacher_seed,
        )


def make_plan(matrix: MatrixSpec, provisional: bool = False) -> Plan:
    """Expand a matrix and check every cell.

    Args:
        matrix: the validated matrix.
        provisional: plan known data sets whose files are missing from their published sizes, and download nothing. The
            cells are the same, but the ids of their runs are not final.

    Raises:
        MatrixError: a name is unknown, a value is invalid, or a data set is missing.
        DataError: a data set is corrupted.
    """
    registry = LocalRegistry(provisional)
    with gc_paused():  # hundreds of thousands of objects without cycles
        expansion = expand(matrix, registry)
        items, incompatible = check_items(expansion.items, partial(registry.incompatibility, file=matrix.file))
    return Plan(
        matrix=matrix,
        items=items,
        incompatible=incompatible,
        excluded=expansion.excluded,
        warnings=expansion.warnings,
        trainings=registry.trainings(every_cell(items)),
        operations=registry.operations(every_cell(items)),
        provisional=registry.missing_data,
    )


def _reads_files(spec: RunSpec) -> bool:
    """Return whether a run depends on the user's own code or on weights, which `plan_digest` does not cover."""
    networks = (spec.student, *spec.peers)
    return any(part.source for part in spec.parts) or any(n.source or n.has_initial_weights for n in networks)
