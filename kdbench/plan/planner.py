"""Planning: a matrix is expanded to runs, and every cell is checked against methods, networks and data sets."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import final

from kdbench.errors import DataError
from kdbench.garbage_collection import gc_paused
from kdbench.matrix import Cell, Excluded, MatrixSpec, RunSpec, expand
from kdbench.matrix.order import sort_runs
from kdbench.matrix.plan_digest import plan_digest
from kdbench.plan.index_cells import index_cell, index_excluded, index_incompatible
from kdbench.plan.registry import LocalRegistry
from kdbench.results import MatrixIndex, Training


@final
@dataclass(frozen=True)
class Incompatible:
    """An incompatible cell, with the reason."""

    cell: Cell
    reason: str


@final
@dataclass(frozen=True)
class Plan:
    """The runs of a matrix on this machine. Every cell is checked; nothing is trained."""

    matrix: MatrixSpec
    cells: tuple[Cell, ...]
    incompatible: tuple[Incompatible, ...]
    excluded: tuple[Excluded, ...]
    warnings: tuple[str, ...]
    trainings: Mapping[str, Training] = field(default_factory=dict)  # what cells train on, by `training_key`
    provisional: Mapping[str, str] = field(default_factory=dict)  # data sets whose files are missing -> message

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
        checked = [(cell, registry.incompatibility(cell, matrix.file)) for cell in expansion.cells]
    incompatible = tuple(Incompatible(cell, reason) for cell, reason in checked if reason)
    compatible = tuple(cell for cell, reason in checked if not reason)
    trainings = registry.trainings(compatible)
    return Plan(
        matrix, compatible, incompatible, expansion.excluded, expansion.warnings, trainings, registry.missing_data
    )


def _reads_files(spec: RunSpec) -> bool:
    """Return whether a run depends on the user's own code or on weights, which `plan_digest` does not cover."""
    networks = (spec.student, *spec.peers)
    return any(part.source for part in spec.parts) or any(n.source or n.has_initial_weights for n in networks)
