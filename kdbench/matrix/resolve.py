"""Resolution of the names in a matrix to recipes, configurations, networks and data sets."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Protocol, TypeVar, final

from kdbench.errors import KdbenchError, MatrixError, did_you_mean
from kdbench.matrix.merge import merge_tables
from kdbench.matrix.recipe import Recipe
from kdbench.matrix.recipe_sweep import swept_values
from kdbench.matrix.recipes import RecipeResolver
from kdbench.matrix.schema import CellKey, MatrixSpec
from kdbench.matrix.spec import DataSpec, NetworkSpec, Part, RunSpec
from kdbench.matrix.sweep import RECIPE, Values, configurations, part_names

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
@dataclass(frozen=True, eq=False)
class Configuration:
    """The methods of a run with their hyperparameters, its recipe, and the values of the recipe that are swept."""

    parts: tuple[Part, ...]
    recipe: Recipe
    swept: Mapping[str, Any]

    @property
    def canonical(self) -> tuple[str, ...]:
        """Text that is equal for equal runs of a student."""
        return (self.recipe.canonical, *(part.canonical for part in self.parts))


@final
class Resolver:
    """Resolves names to specs for a cell of the matrix; results are cached."""

    def __init__(self, matrix: MatrixSpec, registry: Registry) -> None:
        self._matrix = matrix
        self._registry = registry
        self._used_overrides: set[int] = set()
        self._recipes = RecipeResolver(matrix, registry)
        self._teacher_recipe = cache(self._recipes.teacher)
        self._baseline_of = cache(self._baseline)
        self._configurations_of = cache(self._configurations)
        self._check_overrides()
        self.network = cache(self._network)
        self.scratch = registry.part("scratch", {})

    def methods(self, label: str) -> tuple[str, ...]:
        """Return a label and its methods."""
        return (label, *self._locate("", partial(part_names, label, self._matrix.methods[label])))

    def teacher_recipe(self, key: CellKey) -> Recipe:
        """Return the recipe of the teacher in a cell."""
        return self._teacher_recipe(self._overrides(key))

    def baseline(self, key: CellKey) -> tuple[Configuration, ...]:
        """Return the student from scratch in a cell, without hyperparameters, with each recipe."""
        return self._baseline_of(self._overrides(key))

    def configurations(self, label: str, key: CellKey) -> tuple[Configuration, ...]:
        """Return the configurations of a label in a cell."""
        return self._configurations_of(label, self._overrides(key))

    def tables(self, label: str, key: CellKey) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Return the table of a label in a cell, without its key `recipe`, and the recipe of its students.

        Lists that are swept are in them as they are in the matrix.
        """
        return self._tables(label, self._overrides(key))

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

    def _baseline(self, overrides: tuple[int, ...]) -> tuple[Configuration, ...]:
        table = self._recipes.table("student", overrides)
        found = self._locate("", lambda: configurations("scratch", {}, lambda *_: False, table))
        if len(found) > 1 and self._matrix.protocol.validation == 0:
            raise MatrixError(
                f"{self._matrix.file}: recipe.{next(iter(swept_values(table)))}: the value of the student from scratch "
                "is chosen on validation images, but protocol.validation is 0; set it to a fraction of the training "
                "images, such as 0.1, or give one value"
            )
        return self._complete(found, table, "recipe", lambda _: (self.scratch,))

    def _configurations(self, label: str, overrides: tuple[int, ...]) -> tuple[Configuration, ...]:
        table, recipe = self._tables(label, overrides)
        locate = partial(self._locate, f"methods.{label}")
        is_list = lambda *key: locate(partial(self._registry.is_list, *key))  # noqa: E731
        found = self._locate("", lambda: configurations(label, table, is_list, recipe))
        return self._complete(found, recipe, f"methods.{label}", lambda values: locate(partial(self._parts, values)))

    def _tables(self, label: str, overrides: tuple[int, ...]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Return the table of a label, without its key `recipe`, and the recipe of its students."""
        changes: list[tuple[tuple[str, ...], Mapping[str, Any]]] = [(("methods", label), self._matrix.methods[label])]
        for index in overrides:
            change = self._matrix.override[index].set.get("methods", {}).get(label, {})
            changes.append(((f"override[{index}]", "set", "methods", label), change))
        table: Mapping[str, Any] = {}
        recipe = self._recipes.table("student", overrides)
        for where, change in changes:
            table = merge_tables(table, {key: value for key, value in change.items() if key != RECIPE})
            if RECIPE in change:
                recipe = self._recipes.add(recipe, ((*where, RECIPE), change[RECIPE]))
        return table, recipe

    def _complete(
        self,
        found: Sequence[Values],
        recipe: Mapping[str, Any],
        where: str,
        parts: Callable[[Values], tuple[Part, ...]],
    ) -> tuple[Configuration, ...]:
        """Return configurations with their methods and recipes; refuse values that give the same recipe."""
        swept = [key for key, values in swept_values(recipe).items() if len(values) > 1]
        recipes: dict[str, dict[str, Any]] = {}
        complete = []
        for values in found:
            shown = {f"{RECIPE}.{key}": values[RECIPE][key] for key in swept}
            resolved = self._recipes.complete("student", recipe, values[RECIPE])
            if recipes.setdefault(resolved.canonical, shown) != shown:
                other = recipes[resolved.canonical]
                raise MatrixError(f"{self._matrix.file}: {where}: {other} and {shown} give the same recipe; remove one")
            complete.append(Configuration(parts(values), resolved, shown))
        return tuple(complete)

    def _parts(self, values: Values) -> tuple[Part, ...]:
        return tuple(self._registry.part(name, given) for name, given in values.items() if name != RECIPE)

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
