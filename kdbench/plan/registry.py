"""The methods, networks and data sets on this machine, and the check of a cell against them."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any, final, get_origin

import torch

from kdbench import data, methods, models
from kdbench.data.dataset import Dataset
from kdbench.data.dataset_info import DatasetInfo
from kdbench.data.run_images import split_images
from kdbench.errors import DataError, KdbenchError, MatrixError
from kdbench.hyperparameters import declared, identity_fields, resolve, roles
from kdbench.matrix import Cell, DataSpec, NetworkSpec, Part, Registry, RunSpec, Split
from kdbench.matrix.order import with_needs
from kdbench.matrix.recipe import Recipe
from kdbench.plan.bf16_ratio import cached_bf16_ratio
from kdbench.plan.initial_weights import check_initial_weights
from kdbench.plan.operations import count_operations
from kdbench.plan.training import planned_steps, reads_images, training_key, views
from kdbench.results import Training
from kdbench.training.method import Method, Task
from kdbench.training.network import Shapes, shapes
from kdbench.training.precision import resolve_precision


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
        self.sizes = cache(self._sizes)
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
        return recipe.model_copy(update={"precision": resolve_precision(recipe.precision, cached_bf16_ratio)})

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
            MatrixError: a network cannot be built for the images, there are fewer training images than in a batch, or
                initial weights were trained on validation images.
            DataError: the data set is corrupted.
        """
        loaded = self.load(cell.dataset)
        try:
            for run in cell.runs.values():
                check_initial_weights(run, loaded)
            return self._reason(cell.first, loaded)
        except KdbenchError as error:
            raise MatrixError(f"{file}: {cell.label} on {cell.dataset.name}: {error}") from error

    def trainings(self, cells: Iterable[Cell]) -> dict[str, Training]:
        """Return what compatible cells train on, by `training_key`."""
        specs = {training_key(cell.first): cell.first for cell in cells}
        return {key: self._training(spec) for key, spec in specs.items()}

    def _training(self, spec: RunSpec) -> Training:
        train_images, validation_images = self.sizes(spec.dataset, spec.split, spec.recipe)
        loaded = self.load(spec.dataset)
        return Training(
            recipe=spec.recipe.model_dump(mode="json"),
            train_images=train_images,
            validation_images=validation_images,
            available_images=len(loaded.train_labels),
            test_images=loaded.test_size,
            steps=planned_steps(spec, train_images),
            reads_images=reads_images(spec),
            views=views(spec),
            initial_weights=_describe_weights(spec.student),
            test_duplicates=loaded.test_duplicates if isinstance(loaded, Dataset) else 0,
        )

    def _reason(self, spec: RunSpec, loaded: Dataset | DatasetInfo) -> str | None:
        if spec.recipe.monitor == "loss" and (reason := _without_loss(spec)):
            return reason
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
        size, _ = self.sizes(spec.dataset, spec.split, spec.recipe)
        return Task(loaded.num_classes, size, loaded.image_shape, spec.recipe.batch_size)

    def _load(self, spec: DataSpec) -> Dataset | DatasetInfo:
        return data.load(spec) if spec.fingerprint else data.get_info(spec)

    def _sizes(self, dataset: DataSpec, images: Split, recipe: Recipe) -> tuple[int, int]:
        """Return the number of training and of validation images."""
        indices = split_images(self.load(dataset), images, recipe)
        size = len(indices.train)
        if size < recipe.batch_size:
            raise DataError(
                f"a run has {size} training images, which is less than one batch of {recipe.batch_size}; "
                "lower recipe.batch_size or raise train_samples"
            )
        return size, len(indices.validation)

    def _shapes(self, network: NetworkSpec, task: Task, is_trained: bool) -> Shapes:
        with _user_code(f"network '{network.name}'"), torch.device("meta"):
            built = models.build_from_spec(network, task)
            models.check_weights(network, built, task, is_trained)
            return shapes(built)

    def operations(self, cells: Iterable[Cell]) -> dict[tuple[str, str], float]:
        """Return the operations for an image of each network of compatible cells, by data set and network."""
        found: dict[tuple[str, str], float] = {}
        for spec in (run for cell in cells for run in with_needs(cell.first)):
            for network in (spec.student, *spec.peers):
                key = spec.dataset.canonical, network.canonical
                if key not in found:
                    with torch.device("meta"):
                        built = models.build_from_spec(network.untrained(), self._task(spec, self.load(spec.dataset)))
                    found[key] = count_operations(built)
        return found


def _without_loss(spec: RunSpec) -> str | None:
    """Return why the validation loss of a run means nothing, or None. A sum trains the scale of its logits."""
    if len(spec.parts) > 1 or _method(spec.method).calibrated:
        return None
    return (
        f'{spec.method} leaves the scale of its logits free, so its loss cannot be monitored; set monitor = "accuracy"'
    )


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


def _describe_weights(network: NetworkSpec) -> str:
    return "pretrained" if network.pretrained else network.weights or ""


def _needs(spec: RunSpec) -> dict[str, RunSpec]:
    found: dict[str, RunSpec] = {}
    for part in spec.parts:
        method = methods.find(part.name)
        if method.needs.__func__ is not Method.needs.__func__:  # type: ignore[attr-defined]
            with _user_code(f"what '{part.name}' needs"):
                found |= method.needs(spec)
    return found
