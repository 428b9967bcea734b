"""Resolution of the names in a matrix to recipes, configurations, networks and data sets."""

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any, Literal, Protocol, TypeVar, final

from kdbench.errors import KdbenchError, MatrixError, did_you_mean
from kdbench.matrix.merge import merge_tables
from kdbench.matrix.recipe import Plateau, Recipe
from kdbench.matrix.schema import CellKey, MatrixSpec
from kdbench.matrix.spec import DataSpec, NetworkSpec, Part, RunSpec
from kdbench.matrix.sweep import Configuration, configurations, part_names
from kdbench.matrix.validation import validate

T = TypeVar("T")


class Registry(Protocol):
    """The methods, networks and data sets that complete the specs of a matrix.

    Every method raises a KdbenchError for an unknown name or an invalid value.
    """

    def dataset(self, spec: DataSpec) -> DataSpec:
        """Return the data set with the fingerprint of its content, if the data are available."""

    def network(self, spec: NetworkSpec) -> NetworkSpec:
        """Return the network with the hash of its source, if it is the user's own, and of its initial weights."""

    def recipe(self, recipe: Recipe) -> Recipe:
        """Return the recipe with its precision resolved."""

    def is_list(self, method: str, hyperparameter: str) -> bool:
        """Return whether a hyperparameter is a list by type."""

    def part(self, method: str, given: Mapping[str, Any]) -> Part:
        """Return the method with all its hyperparameters, typed."""

    def with_dependencies(self, spec: RunSpec, teacher: RunSpec, peers: tuple[NetworkSpec, ...]) -> RunSpec:
        """Return the run with the runs that it needs, and its peers."""


def data_spec(matrix: MatrixSpec, name: str) -> DataSpec:
    """Return how to read a data set of the matrix, without its fingerprint."""
    table = matrix.dataset.get(name)
    return DataSpec(name, (table.kind if table else None) or name, table.options if table else {})


@final
class Resolver:
    """Resolves names to specs for a cell of the matrix; results are cached."""

    def __init__(self, matrix: MatrixSpec, registry: Registry) -> None:
        self._matrix = matrix
        self._registry = registry
        self._used_overrides: set[int] = set()
        self._recipe_of = cache(self._recipe)
        self._configurations_of = cache(self._configurations)
        self._check_overrides()
        self.network = cache(self._network)
        self.scratch = registry.part("scratch", {})

    def methods(self, label: str) -> tuple[str, ...]:
        """Return a label and its methods."""
        return (label, *self._locate("", partial(part_names, label, self._matrix.methods[label])))

    def recipe(self, role: Literal["teacher", "student"], key: CellKey) -> Recipe:
        """Return the recipe of a role in a cell."""
        return self._recipe_of(role, self._overrides(key))

    def configurations(self, label: str, key: CellKey) -> list[tuple[Part, ...]]:
        """Return the configurations of a label in a cell."""
        return self._configurations_of(label, self._overrides(key))

    def overrides_teacher(self, key: CellKey) -> bool:
        """Return whether an override gives the teacher of a method its own recipe in a cell."""
        overrides = [self._matrix.override[i] for i in self._overrides(key)]
        return any(o.when.method is not None and "teacher" in o.set.get("recipe", {}) for o in overrides)

    def dataset(self, name: str) -> DataSpec:
        """Return the data set of a name."""
        where = f"dataset.{name}" if name in self._matrix.dataset else "datasets"
        return self._locate(where, lambda: self._registry.dataset(data_spec(self._matrix, name)))

    def with_dependencies(self, spec: RunSpec, teacher: RunSpec, peers: tuple[NetworkSpec, ...]) -> RunSpec:
        """Return the run with the runs that it needs, and its peers."""
        return self._registry.with_dependencies(spec, teacher, peers)

    def unused_overrides(self) -> list[str]:
        """Return the keys of the overrides that matched no cell."""
        return [f"override[{i}]" for i in range(len(self._matrix.override)) if i not in self._used_overrides]

    def _overrides(self, key: CellKey) -> tuple[int, ...]:
        matching = tuple(i for i, override in enumerate(self._matrix.override) if override.when.matches(key))
        self._used_overrides.update(matching)
        return matching

    def _recipe(self, role: str, overrides: tuple[int, ...]) -> Recipe:
        raw: Mapping[str, Any] = self._matrix.recipe
        recipe = self._refine(raw, role, ("recipe",))
        for index in overrides:
            raw = merge_tables(raw, self._recipe_change(index, role))
            recipe = self._refine(raw, role, (f"override[{index}]", "set", "recipe"))
        self._check_validation(recipe, role)
        return self._locate(f"recipe.{role}", lambda: self._registry.recipe(recipe))

    def _refine(self, raw: Mapping[str, Any], role: str, where: tuple[str, ...]) -> Recipe:
        """Return the recipe of a role; errors name `where`, the table whose values are added."""
        shared = {key: value for key, value in raw.items() if key not in ("teacher", "student")}
        recipe = validate(Recipe, shared, self._matrix.file, where)
        if role not in raw:
            return recipe
        if not isinstance(raw[role], Mapping):
            raise MatrixError(f"{self._matrix.file}: {'.'.join((*where, role))}: must be a table, got {raw[role]!r}")
        return validate(Recipe, merge_tables(shared, raw[role]), self._matrix.file, (*where, role))

    def _recipe_change(self, index: int, role: str) -> Mapping[str, Any]:
        """Return the values of `recipe` that an override sets for a role.

        An override that selects students or methods does not change their teacher, unless it sets `recipe.teacher`.
        """
        override = self._matrix.override[index]
        change = override.set.get("recipe", {})
        selects_student = override.when.student is not None or override.when.method is not None
        if role == "teacher" and selects_student:
            return {"teacher": change["teacher"]} if "teacher" in change else {}
        return change

    def _check_validation(self, recipe: Recipe, role: str) -> None:
        if self._matrix.protocol.validation > 0:
            return
        uses = {"schedule": isinstance(recipe.schedule, Plateau), "early_stopping": recipe.early_stopping is not None}
        for key, is_used in uses.items():
            if is_used:
                raise MatrixError(
                    f"{self._matrix.file}: recipe.{role}.{key}: needs the validation loss, "
                    "but protocol.validation is 0; set it to a fraction of the training images, such as 0.1"
                )

    def _configurations(self, label: str, overrides: tuple[int, ...]) -> list[tuple[Part, ...]]:
        table: Mapping[str, Any] = self._matrix.methods[label]
        for index in overrides:
            table = merge_tables(table, self._matrix.override[index].set.get("methods", {}).get(label, {}))
        locate = partial(self._locate, f"methods.{label}")
        found = self._locate(
            "", lambda: configurations(label, table, lambda *key: locate(partial(self._registry.is_list, *key)))
        )
        return [locate(partial(self._parts, configuration)) for configuration in found]

    def _parts(self, configuration: Configuration) -> tuple[Part, ...]:
        return tuple(self._registry.part(name, given) for name, given in configuration.items())

    def _network(self, name: str) -> NetworkSpec:
        table = self._matrix.network.get(name)
        spec = NetworkSpec(name)
        if table is not None:
            spec = NetworkSpec(
                name,
                table.factory,
                table.options,
                architecture=table.architecture,
                weights=table.weights,
                pretrained=table.pretrained,
            )
        return self._locate(f"network.{name}" if table else "pairs", lambda: self._registry.network(spec))

    def _locate(self, where: str, action: Callable[[], T]) -> T:
        """Return the result of an action; its error is prefixed with the file and the key `where`."""
        try:
            return action()
        except KdbenchError as error:
            prefix = f"{self._matrix.file}: "
            text = str(error).removeprefix(prefix)
            raise MatrixError(f"{prefix}{where}: {text}" if where else f"{prefix}{text}") from error

    def _check_overrides(self) -> None:
        for index, override in enumerate(self._matrix.override):
            for label, change in override.set.get("methods", {}).items():
                where = f"{self._matrix.file}: override[{index}].set.methods.{label}"
                if label not in self._matrix.methods:
                    raise MatrixError(f"{where}: unknown label; {did_you_mean(label, self._matrix.methods)}")
                if not isinstance(change, Mapping):
                    raise MatrixError(f"{where}: must be a table, got {change!r}")
