"""What the names of a matrix stand for at one place of it: recipes, configurations, networks, data sets."""

from collections.abc import Callable, Mapping
from functools import cache, partial
from typing import Any, Literal, Protocol, TypeVar, final

from kdbench.errors import KdbenchError, MatrixError, did_you_mean
from kdbench.matrix.merge import merge
from kdbench.matrix.recipe import Plateau, Recipe
from kdbench.matrix.schema import CellKey, MatrixSpec
from kdbench.matrix.spec import DataSpec, NetworkSpec, Part, RunSpec
from kdbench.matrix.sweep import Configuration, configurations, part_names
from kdbench.matrix.validation import validated

T = TypeVar("T")


class Catalog(Protocol):
    """What the names in a matrix stand for; each method raises a KdbenchError for a name or value it refuses."""

    def data(self, spec: DataSpec) -> DataSpec:
        """The data set with its content's fingerprint, where the data are there."""

    def network(self, spec: NetworkSpec) -> NetworkSpec:
        """The network with the hash of its source, if it is a user's own, and of the weights that it starts from."""

    def recipe(self, recipe: Recipe) -> Recipe:
        """The recipe with its precision resolved."""

    def is_list(self, method: str, hyperparameter: str) -> bool:
        """Whether a hyperparameter is a list by type."""

    def part(self, method: str, given: Mapping[str, Any]) -> Part:
        """The method with all its hyperparameters, typed."""

    def with_dependencies(self, spec: RunSpec, teacher: RunSpec, peers: tuple[NetworkSpec, ...]) -> RunSpec:
        """The run with the runs that it needs, and its peers."""


def data_spec(matrix: MatrixSpec, name: str) -> DataSpec:
    """How to read the data set of a name, before anybody has looked for it."""
    table = matrix.dataset.get(name)
    return DataSpec(name, (table.kind if table else None) or name, table.options if table else {})


@final
class Resolver:
    """Answers what holds at a place of the matrix, each question once."""

    def __init__(self, matrix: MatrixSpec, catalog: Catalog) -> None:
        self._matrix = matrix
        self._catalog = catalog
        self._used: set[int] = set()
        self._recipe_of = cache(self._recipe)
        self._configurations_of = cache(self._configurations)
        self._check_overrides()
        self.network = cache(self._network)
        self.scratch = catalog.part("scratch", {})

    def methods(self, label: str) -> tuple[str, ...]:
        """A label and the methods that it names."""
        return (label, *self._at("", partial(part_names, label, self._matrix.methods[label])))

    def recipe(self, role: Literal["teacher", "student"], place: CellKey) -> Recipe:
        """How a network of that role is trained there."""
        return self._recipe_of(role, self._overrides(place))

    def configurations(self, label: str, place: CellKey) -> list[tuple[Part, ...]]:
        """The configurations of a label there."""
        return self._configurations_of(label, self._overrides(place))

    def overrides_teacher(self, place: CellKey) -> bool:
        """Whether the method at that place asks for a teacher with a recipe of its own."""
        held = [self._matrix.override[i] for i in self._overrides(place)]
        return any(o.when.method is not None and "teacher" in o.set.get("recipe", {}) for o in held)

    def data(self, name: str) -> DataSpec:
        """The data set of a name."""
        where = f"dataset.{name}" if name in self._matrix.dataset else "datasets"
        return self._at(where, lambda: self._catalog.data(data_spec(self._matrix, name)))

    def with_dependencies(self, spec: RunSpec, teacher: RunSpec, peers: tuple[NetworkSpec, ...]) -> RunSpec:
        """The run with the runs that it needs, and its peers."""
        return self._catalog.with_dependencies(spec, teacher, peers)

    def unused(self) -> list[str]:
        """The overrides that held nowhere."""
        return [f"override[{i}]" for i in range(len(self._matrix.override)) if i not in self._used]

    def _overrides(self, place: CellKey) -> tuple[int, ...]:
        held = tuple(i for i, override in enumerate(self._matrix.override) if override.when.matches(place))
        self._used.update(held)
        return held

    def _recipe(self, role: str, overrides: tuple[int, ...]) -> Recipe:
        raw: Mapping[str, Any] = self._matrix.recipe
        recipe = self._refined(raw, role, ("recipe",))
        for place in overrides:
            raw = merge(raw, self._change(place, role))
            recipe = self._refined(raw, role, (f"override[{place}]", "set", "recipe"))
        self._needs_validation(recipe, role)
        return self._at(f"recipe.{role}", lambda: self._catalog.recipe(recipe))

    def _refined(self, raw: Mapping[str, Any], role: str, where: tuple[str, ...]) -> Recipe:
        """The recipe of a role; what is wrong is named at `where`, the table that brought it in."""
        shared = {key: value for key, value in raw.items() if key not in ("teacher", "student")}
        recipe = validated(Recipe, shared, self._matrix.file, where)
        if role not in raw:
            return recipe
        if not isinstance(raw[role], Mapping):
            raise MatrixError(f"{self._matrix.file}: {'.'.join((*where, role))}: must be a table, got {raw[role]!r}")
        return validated(Recipe, merge(shared, raw[role]), self._matrix.file, (*where, role))

    def _change(self, place: int, role: str) -> Mapping[str, Any]:
        """What an override sets in `recipe`.

        One that is about some students or methods leaves their teacher alone, unless it says `recipe.teacher`.
        """
        override = self._matrix.override[place]
        change = override.set.get("recipe", {})
        about_student = override.when.student is not None or override.when.method is not None
        if role == "teacher" and about_student:
            return {"teacher": change["teacher"]} if "teacher" in change else {}
        return change

    def _needs_validation(self, recipe: Recipe, role: str) -> None:
        if self._matrix.protocol.validation > 0:
            return
        reads = {"schedule": isinstance(recipe.schedule, Plateau), "early_stopping": recipe.early_stopping is not None}
        for key, used in reads.items():
            if used:
                raise MatrixError(
                    f"{self._matrix.file}: recipe.{role}.{key}: reads the validation loss, "
                    "and protocol.validation is 0; give it a share of the training images, such as 0.1"
                )

    def _configurations(self, label: str, overrides: tuple[int, ...]) -> list[tuple[Part, ...]]:
        table: Mapping[str, Any] = self._matrix.methods[label]
        for place in overrides:
            table = merge(table, self._matrix.override[place].set.get("methods", {}).get(label, {}))
        at_label = partial(self._at, f"methods.{label}")
        found = self._at(
            "", lambda: configurations(label, table, lambda *key: at_label(partial(self._catalog.is_list, *key)))
        )
        return [at_label(partial(self._parts, configuration)) for configuration in found]

    def _parts(self, configuration: Configuration) -> tuple[Part, ...]:
        return tuple(self._catalog.part(name, given) for name, given in configuration.items())

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
        return self._at(f"network.{name}" if table else "pairs", lambda: self._catalog.network(spec))

    def _at(self, where: str, action: Callable[[], T]) -> T:
        """What an action gives; its error gets the file and the key in front."""
        try:
            return action()
        except KdbenchError as error:
            prefix = f"{self._matrix.file}: "
            text = str(error).removeprefix(prefix)
            raise MatrixError(f"{prefix}{where}: {text}" if where else f"{prefix}{text}") from error

    def _check_overrides(self) -> None:
        for place, override in enumerate(self._matrix.override):
            for label, change in override.set.get("methods", {}).items():
                where = f"{self._matrix.file}: override[{place}].set.methods.{label}"
                if label not in self._matrix.methods:
                    raise MatrixError(f"{where}: no such label; {did_you_mean(label, self._matrix.methods)}")
                if not isinstance(change, Mapping):
                    raise MatrixError(f"{where}: must be a table, got {change!r}")
