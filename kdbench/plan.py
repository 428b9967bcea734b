"""Planning: a matrix is expanded to runs, and every cell is checked against methods, networks and data sets."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any, final, get_origin

import torch

from kdbench import data, methods, models
from kdbench.data.dataset import Dataset
from kdbench.data.dataset_info import DatasetInfo
from kdbench.data.splits import split
from kdbench.errors import DataError, KdbenchError, MatrixError
from kdbench.garbage_collection import gc_paused
from kdbench.hyperparameters import declared, identity_fields, resolve, roles
from kdbench.matrix import Cell, DataSpec, Excluded, MatrixSpec, NetworkSpec, Part, Registry, RunSpec, expand
from kdbench.matrix.identity import canonical, digest
from kdbench.matrix.order import sort_runs
from kdbench.matrix.plan_digest import plan_digest
from kdbench.matrix.recipe import Recipe
from kdbench.results import ExcludedCell, IncompatibleCell, IndexCell, MatrixIndex
from kdbench.training.method import Method, Task
from kdbench.training.network import Shapes, shapes
from kdbench.training.precision import resolve_precision


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
            cells=tuple(map(_index_cell, self.cells)),
            incompatible=tuple(
                IncompatibleCell(i.cell.label, i.cell.dataset.name, *_pair(i.cell), i.reason, len(i.cell.runs))
                for i in self.incompatible
            ),
            excluded=tuple(
                ExcludedCell(e.label, e.dataset, e.pair.teacher, e.pair.student, e.seeds, e.why) for e in self.excluded
            ),
            needed=tuple(run.id for run in self.runs if run.id in self.teachers),
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
    return Plan(matrix, compatible, incompatible, expansion.excluded, expansion.warnings, registry.missing_data)


def batches_key(spec: RunSpec) -> str:
    """Return a key that is equal for runs with the same batches, which can train side by side."""
    classes = [methods.find(part.name) for part in spec.parts]
    views = max(c.views for c in classes)
    recipe = spec.recipe
    shared = recipe.model_dump(
        mode="json", include={"epochs", "batch_size", "augment", "precision", "train_samples", "steps_per_epoch"}
    )
    strong = recipe.model_dump(mode="json", include={"strong_augment"}) if views > 1 else None
    kinds = sorted({c.data for c in classes})
    return digest(canonical([spec.dataset.canonical, spec.split.canonical, shared, strong, views, kinds, spec.seed]))


@final
class LocalRegistry(Registry):
    """The methods, networks and data sets on this machine.

    `missing_data` has a message for each data set that was planned without its files.
    """

    def __init__(self, provisional: bool = False) -> None:
        self.provisional = provisional
        self.missing_data: dict[str, str] = {}
        self.roles = cache(self._roles)
        self.shapes = cache(self._shapes)
        self.train_size = cache(self._train_size)
        self.load = cache(self._load)
        self._checked: dict[tuple[tuple[str, ...], Shapes, Shapes | None, Task], str | None] = {}

    def dataset(self, spec: DataSpec) -> DataSpec:
        """Return the data set with the fingerprint of its content; without one if its files may be and are missing."""
        reason = data.find_missing(spec) if self.provisional else None
        if reason:
            self.load(spec)
            self.missing_data[spec.name] = reason
            return spec
        data.check(spec)
        return replace(spec, fingerprint=data.get_fingerprint(spec))

    def network(self, spec: NetworkSpec) -> NetworkSpec:
        """Return the network with the hash of its source, if it is the user's own, and of its initial weights."""
        if spec.factory is None:
            models.check(spec.known_as, (1, 1, 1))
        spec = models.resolve_weights(spec)
        if spec.factory is None:
            return spec
        with _user_code(f"network '{spec.name}'"):
            return replace(spec, source=models.source_hash(spec.factory))

    def recipe(self, recipe: Recipe) -> Recipe:
        """Return the recipe with its precision resolved."""
        return recipe.model_copy(update={"precision": resolve_precision(recipe.precision)})

    def is_list(self, method: str, hyperparameter: str) -> bool:
        """Return whether a hyperparameter is a list by type."""
        parameter = declared(_method(method)).get(hyperparameter)
        return parameter is not None and get_origin(parameter.annotation) in (list, tuple)

    def part(self, method: str, given: Mapping[str, Any]) -> Part:
        """Return the method with all its hyperparameters, typed."""
        found = _method(method)
        complete = identity_fields(found, resolve(found, given, method))
        return Part(method, complete, found.version, methods.source_hash(method))

    def with_dependencies(self, spec: RunSpec, teacher: RunSpec, peers: tuple[NetworkSpec, ...]) -> RunSpec:
        """Return the run with the runs that it needs, and its peers."""
        needed_roles = self.roles(tuple(part.name for part in spec.parts))
        needs = {role: self._complete(need, teacher) for role, need in _needs(spec).items()}
        if "teacher" in needed_roles:
            needs.setdefault("teacher", teacher)
        used_peers = (peers or (teacher.student.untrained(),)) if "peers" in needed_roles else ()
        return replace(spec, needs=tuple(sorted(needs.items())), peers=used_peers)

    def _complete(self, need: RunSpec, teacher: RunSpec) -> RunSpec:
        parts = tuple(self.part(part.name, part.hyperparameters) for part in need.parts)
        return self.with_dependencies(replace(need, parts=parts), teacher, ())

    def _roles(self, names: tuple[str, ...]) -> frozenset[str]:
        return frozenset(role for name in names for role in roles(methods.find(name)))

    def incompatibility(self, cell: Cell, file: str) -> str | None:
        """Return why a cell is incompatible, or None.

        Raises:
            MatrixError: a network cannot be built for the images, or there are fewer training images than in a batch.
            DataError: the data set is corrupted.
        """
        spec = next(iter(cell.runs.values()))
        loaded = self.load(cell.dataset)
        try:
            return self._reason(spec, loaded)
        except KdbenchError as error:
            raise MatrixError(f"{file}: {cell.label} on {cell.dataset.name}: {error}") from error

    def _reason(self, spec: RunSpec, loaded: Dataset | DatasetInfo) -> str | None:
        task = self._task(spec, loaded)
        student, *_ = [self.shapes(network, task, spec.recipe.epochs > 0) for network in (spec.student, *spec.peers)]
        teacher = self.shapes(spec.teacher.student, task, spec.teacher.recipe.epochs > 0) if spec.teacher else None
        names = [part.name for part in spec.parts]
        key = (tuple(part.canonical for part in spec.parts), student, teacher, task)
        if key not in self._checked:
            parameters = {part.name: part.hyperparameters for part in spec.parts}
            with _user_code(f"the check of {spec.method}"):
                self._checked[key] = methods.check(names, parameters, student, teacher, task)
        return self._checked[key]

    def _task(self, spec: RunSpec, loaded: Dataset | DatasetInfo) -> Task:
        size = self.train_size(spec.dataset, spec.split.validation, spec.split.split_seed, spec.recipe)
        return Task(loaded.num_classes, size, loaded.image_shape, spec.recipe.batch_size)

    def _load(self, spec: DataSpec) -> Dataset | DatasetInfo:
        return data.load(spec) if spec.fingerprint else data.get_info(spec)

    def _train_size(self, dataset: DataSpec, validation: float, split_seed: int, recipe: Recipe) -> int:
        labels = self.load(dataset).train_labels
        size = len(split(labels, validation, split_seed, recipe.train_samples).train)
        if size < recipe.batch_size:
            raise DataError(
                f"a run has {size} training images, which is less than one batch of {recipe.batch_size}; "
                "lower recipe.batch_size or raise train_samples"
            )
        return size

    def _shapes(self, network: NetworkSpec, task: Task, is_trained: bool) -> Shapes:
        with _user_code(f"network '{network.name}'"), torch.device("meta"):
            built = models.build_from_spec(network, task)
            models.check_weights(network, built, task, is_trained)
            return shapes(built)


def _method(name: str) -> type[Method]:
    with _user_code(f"method '{name}'"):
        return methods.find(name)


@contextmanager
def _user_code(what: str) -> Iterator[None]:
    """Raise a MatrixError for any exception of the user's own network or method, even at its import."""
    try:
        yield
    except KdbenchError:
        raise
    except Exception as error:
        raise MatrixError(f"{what} raises {type(error).__name__}: {error}") from error


def _needs(spec: RunSpec) -> dict[str, RunSpec]:
    found: dict[str, RunSpec] = {}
    for part in spec.parts:
        method = methods.find(part.name)
        if method.needs.__func__ is not Method.needs.__func__:  # type: ignore[attr-defined]
            with _user_code(f"what '{part.name}' needs"):
                found |= method.needs(spec)
    return found


def _reads_files(spec: RunSpec) -> bool:
    """Return whether a run depends on the user's own code or on weights, which `plan_digest` does not cover."""
    networks = (spec.student, *spec.peers)
    return any(part.source for part in spec.parts) or any(n.source or n.has_initial_weights for n in networks)


def _pair(cell: Cell) -> tuple[str, str]:
    return cell.pair.teacher, cell.pair.student


def _index_cell(cell: Cell) -> IndexCell:
    spec = next(iter(cell.runs.values()))
    teacher, student = _pair(cell)
    return IndexCell(
        kind=cell.kind,
        label=cell.label,
        dataset=cell.dataset.name,
        teacher=teacher,
        student=student,
        method=spec.method,
        hyperparameters=spec.hyperparameters,
        runs={str(seed): run.id for seed, run in cell.runs.items()},
    )
