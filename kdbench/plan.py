"""A matrix, the methods' signatures and the networks' shapes -> runs, or the reason why a cell cannot run."""

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
from kdbench.matrix import Cell, DataSpec, Excluded, MatrixSpec, NetworkSpec, Part, RunSpec, expand
from kdbench.matrix.identity import canonical, digest
from kdbench.matrix.order import in_order
from kdbench.matrix.plan_digest import plan_digest
from kdbench.matrix.recipe import Recipe
from kdbench.results import ExcludedCell, IncompatibleCell, IndexCell, MatrixIndex
from kdbench.training.method import Method, Task
from kdbench.training.network import Shapes, shapes
from kdbench.training.precision import resolve_precision


@final
@dataclass(frozen=True)
class Incompatible:
    """A cell that cannot run, with the reason."""

    cell: Cell
    reason: str


@final
@dataclass(frozen=True)
class Plan:
    """What a matrix comes to on this machine: every cell has been checked, nothing has been trained."""

    matrix: MatrixSpec
    cells: tuple[Cell, ...]
    incompatible: tuple[Incompatible, ...]
    excluded: tuple[Excluded, ...]
    warnings: tuple[str, ...]
    provisional: Mapping[str, str] = field(default_factory=dict)  # data sets planned without their files, and why

    @cached_property
    def runs(self) -> tuple[RunSpec, ...]:
        """Every run once, with the runs that they need: those that others need first, then seed by seed."""
        return in_order(run for cell in self.cells for run in cell.runs.values())

    @cached_property
    def teachers(self) -> frozenset[str]:
        """The ids of the runs that others need."""
        return frozenset(need.id for run in self.runs for _, need in run.needs)

    @property
    def _contents(self) -> dict[str, str | None]:
        """The data sets' fingerprints."""
        cells = [*self.cells, *(i.cell for i in self.incompatible)]
        return {cell.dataset.name: cell.dataset.fingerprint for cell in cells}

    def index(self) -> MatrixIndex:
        """What the results folder keeps of this plan.

        Raises:
            DataError: the plan is provisional: what it asks for has no identity yet.
        """
        if self.provisional:
            absent = "; ".join(self.provisional.values())
            raise DataError(f"a provisional plan cannot be run; make it anew, without `provisional`: {absent}")
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

    With `provisional` nothing is downloaded: a known data set whose files are absent is planned from what is known of
    it. Cells and counts are the same, but the ids of its runs are not those that it will have.

    Raises:
        MatrixError: a name is unknown or a value breaks its rule, or a data set is not there.
        DataError: a data set is corrupted.
    """
    installed = Registry(provisional)
    with gc_paused():  # objects by the hundred thousand, and no cycles
        expansion = expand(matrix, installed)
        checked = [(cell, installed.incompatibility(cell, matrix.file)) for cell in expansion.cells]
    incompatible = tuple(Incompatible(cell, reason) for cell, reason in checked if reason)
    possible = tuple(cell for cell, reason in checked if not reason)
    return Plan(matrix, possible, incompatible, expansion.excluded, expansion.warnings, installed.absent)


def batches_key(spec: RunSpec) -> str:
    """Runs with equal keys see the same batches, and may train side by side."""
    classes = [methods.find(part.name) for part in spec.parts]
    views = max(c.views for c in classes)
    recipe = spec.recipe
    seen = recipe.model_dump(
        mode="json", include={"epochs", "batch_size", "augment", "precision", "train_samples", "steps_per_epoch"}
    )
    strong = recipe.model_dump(mode="json", include={"strong_augment"}) if views > 1 else None
    kinds = sorted({c.data for c in classes})
    return digest(canonical([spec.dataset.canonical, spec.split.canonical, seen, strong, views, kinds, spec.seed]))


@final
class Registry:
    """What the names of a matrix stand for on this machine; `absent` has what was planned without files, and why."""

    def __init__(self, provisional: bool = False) -> None:
        self.provisional = provisional
        self.absent: dict[str, str] = {}
        self.part_of = cache(self._roles)
        self.shapes = cache(self._shapes)
        self.train_size = cache(self._train_size)
        self.dataset = cache(self._dataset)
        self._checked: dict[tuple[tuple[str, ...], Shapes, Shapes | None, Task], str | None] = {}

    def data(self, spec: DataSpec) -> DataSpec:
        """The data set with its content's fingerprint; without one where it is absent and may be."""
        reason = data.find_missing(spec) if self.provisional else None
        if reason:
            self.dataset(spec)
            self.absent[spec.name] = reason
            return spec
        data.check(spec)
        return replace(spec, fingerprint=data.get_fingerprint(spec))

    def network(self, spec: NetworkSpec) -> NetworkSpec:
        """The network with the hash of its source, if it is a user's own, and of the weights that it starts from."""
        if spec.factory is None:
            models.check(spec.known_as, (1, 1, 1))
        spec = models.resolve_weights(spec)
        if spec.factory is None:
            return spec
        with _users_code(f"network '{spec.name}'"):
            return replace(spec, source=models.source_hash(spec.factory))

    def recipe(self, recipe: Recipe) -> Recipe:
        """The recipe with its precision resolved."""
        return recipe.model_copy(update={"precision": resolve_precision(recipe.precision)})

    def is_list(self, method: str, hyperparameter: str) -> bool:
        """Whether a hyperparameter is a list by type."""
        parameter = declared(_method(method)).get(hyperparameter)
        return parameter is not None and get_origin(parameter.annotation) in (list, tuple)

    def part(self, method: str, given: Mapping[str, Any]) -> Part:
        """The method with all its hyperparameters, typed."""
        found = _method(method)
        complete = identity_fields(found, resolve(found, given, method))
        return Part(method, complete, found.version, methods.source_hash(method))

    def with_dependencies(self, spec: RunSpec, teacher: RunSpec, peers: tuple[NetworkSpec, ...]) -> RunSpec:
        """The run with the runs that it needs, and its peers."""
        wanted = self.part_of(tuple(part.name for part in spec.parts))
        needs = {role: self._complete(need, teacher) for role, need in _needs(spec).items()}
        if "teacher" in wanted:
            needs.setdefault("teacher", teacher)
        trained_beside = (peers or (teacher.student.untrained(),)) if "peers" in wanted else ()
        return replace(spec, needs=tuple(sorted(needs.items())), peers=trained_beside)

    def _complete(self, need: RunSpec, teacher: RunSpec) -> RunSpec:
        parts = tuple(self.part(part.name, part.hyperparameters) for part in need.parts)
        return self.with_dependencies(replace(need, parts=parts), teacher, ())

    def _roles(self, names: tuple[str, ...]) -> frozenset[str]:
        return frozenset(role for name in names for role in roles(methods.find(name)))

    def incompatibility(self, cell: Cell, file: str) -> str | None:
        """Why a cell cannot run, or None.

        Raises:
            MatrixError: a network cannot be built for the data set's images, or there are too few training images.
            DataError: the data set is corrupted.
        """
        spec = next(iter(cell.runs.values()))
        loaded = self.dataset(cell.dataset)
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
            with _users_code(f"the check of {spec.method}"):
                self._checked[key] = methods.check(names, parameters, student, teacher, task)
        return self._checked[key]

    def _task(self, spec: RunSpec, loaded: Dataset | DatasetInfo) -> Task:
        size = self.train_size(spec.dataset, spec.split.validation, spec.split.split_seed, spec.recipe)
        return Task(loaded.num_classes, size, loaded.image_shape, spec.recipe.batch_size)

    def _dataset(self, spec: DataSpec) -> Dataset | DatasetInfo:
        return data.load(spec) if spec.fingerprint else data.get_info(spec)

    def _train_size(self, dataset: DataSpec, validation: float, split_seed: int, recipe: Recipe) -> int:
        labels = self.dataset(dataset).train_labels
        size = len(split(labels, validation, split_seed, recipe.train_samples).train)
        if size < recipe.batch_size:
            raise DataError(
                f"a run has {size} training images, fewer than one batch of {recipe.batch_size}; "
                "lower recipe.batch_size or raise train_samples"
            )
        return size

    def _shapes(self, network: NetworkSpec, task: Task, trains: bool) -> Shapes:
        with _users_code(f"network '{network.name}'"), torch.device("meta"):
            built = models.build_from_spec(network, task)
            models.check_weights(network, built, task, trains)
            return shapes(built)


def _method(name: str) -> type[Method]:
    with _users_code(f"method '{name}'"):
        return methods.find(name)


@contextmanager
def _users_code(what: str) -> Iterator[None]:
    """A user's own network or method may raise anything, even at its import."""
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
            with _users_code(f"what '{part.name}' needs"):
                found |= method.needs(spec)
    return found


def _reads_files(spec: RunSpec) -> bool:
    """Whether a run depends on a user's own code or on weights, which the digest of a plan does not cover."""
    networks = (spec.student, *spec.peers)
    return any(part.source for part in spec.parts) or any(n.source or n.trained_before for n in networks)


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
