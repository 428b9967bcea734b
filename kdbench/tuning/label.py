"""The label of a matrix that is tuned: the values that its table fixes, and the lists that are searched instead."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from kdbench import methods
from kdbench.errors import MatrixError
from kdbench.matrix import MatrixSpec, load
from kdbench.matrix.recipe_sweep import ZIP, swept_values
from kdbench.matrix.resolve import Resolver
from kdbench.matrix.schema import CellKey, Override
from kdbench.matrix.shipped import find_shipped
from kdbench.matrix.sweep import RECIPE, Key, part_names, values_by_key
from kdbench.plan import LocalRegistry

Configuration = Mapping[str, Any]  # values by the names of hyperparameters


@final
@dataclass(frozen=True)
class Label:
    """A label with its values on the first data set and pair of a matrix, those of its overrides included.

    Attributes:
        name: the label.
        parts: its methods.
        fixed: the hyperparameters with one value.
        lists: the hyperparameters and keys of the recipe with a list of values.
        recipe: the table `recipe` of the label in the matrix.
    """

    name: str
    parts: tuple[str, ...]
    fixed: Mapping[Key, Any]
    lists: Mapping[Key, Sequence[Any]]
    recipe: Mapping[str, Any]

    def full_name(self, key: Key) -> str:
        """Return the name of a key: in a sum, and in the recipe, it starts with its part and a dot."""
        part, name = key
        return name if len(self.parts) == 1 and part != RECIPE else f"{part}.{name}"

    def given(self, part: str) -> dict[str, Any]:
        """Return the fixed values of a method, and the first value of each list."""
        first = {key: values[0] for key, values in self.lists.items()}
        return {name: value for (owner, name), value in {**self.fixed, **first}.items() if owner == part}

    def table(self, values: Mapping[Key, Any]) -> dict[str, Any]:
        """Return the table of the label in a matrix, with these values beside the fixed ones."""
        table: dict[str, Any] = {"method": list(self.parts)}
        if self.name in (" + ".join(self.parts), "+".join(self.parts)):
            del table["method"]
        recipe = _without(self.recipe, [key for part, key in self.lists if part == RECIPE])
        if recipe:
            table[RECIPE] = recipe
        for (part, key), value in {**self.fixed, **values}.items():
            owner = table if part != RECIPE and len(self.parts) == 1 else table.setdefault(part, {})
            *path, last = key.split(".") if part == RECIPE else [key]
            for name in path:
                owner[name] = _as_table(owner.get(name, {}))
                owner = owner[name]
            owner[last] = value
        return table


def default_matrix() -> MatrixSpec:
    """Return the quickstart without its methods, so that no hyperparameter is fixed."""
    return load(find_shipped("quickstart")).model_copy(update={"methods": {}, "override": ()})


def find_label(method: str, base: MatrixSpec) -> tuple[str, tuple[str, ...]]:
    """Return the label and the methods of a name: a label of the matrix, a method, or a sum of methods.

    A sum is that of a label with the same methods in their order, however it is spaced.

    Raises:
        MethodError: a method is unknown.
        MatrixError: the key `method` of the label is invalid.
    """
    table = base.methods.get(method, {})
    parts = part_names(method, table)
    same = (label for label, one in base.methods.items() if "method" not in one and part_names(label, one) == parts)
    label = method if method in base.methods else next(same, method)
    for part in parts:
        methods.find(part)
    return label, parts


def read_label(method: str, base: MatrixSpec) -> Label:
    """Return the label that a name stands for, with its values on the first data set and pair.

    Raises:
        MethodError: a method is unknown.
        MatrixError: its table or an override has an invalid value.
    """
    name, parts = find_label(method, base)
    alone = base.model_copy(
        update={"methods": {name: base.methods.get(name, {})}, "override": tuple(_overrides_of(name, base))}
    )
    registry = LocalRegistry(provisional=True)
    pair = alone.pairs[0]
    key = CellKey(alone.datasets[0], pair.teacher, pair.student, (name, *parts))
    table, recipe = Resolver(alone, registry).tables(name, key)
    try:
        values = values_by_key(name, table, registry.is_list)
    except MatrixError as error:
        raise MatrixError(f"{base.file}: {error}") from None
    lists = {key: values for key, (values, is_swept) in values.items() if is_swept}
    fixed = {key: values[0] for key, (values, is_swept) in values.items() if not is_swept}
    lists |= {(RECIPE, key): values for key, values in swept_values(recipe).items()}
    own = base.methods.get(name, {}).get(RECIPE, {})
    return Label(name, parts, fixed, lists, {**own, ZIP: []} if ZIP in recipe else own)


def overrides_of(label: Label, base: MatrixSpec) -> Iterator[Override]:
    """Yield the overrides of the recipe: of all labels, and of this one without the keys that are searched."""
    searched = [key for part, key in label.lists if part == RECIPE]
    for override in _overrides_of(label.name, base):
        change = {key: value for key, value in override.set.items() if key == RECIPE}
        own = override.set.get("methods", {}).get(label.name, {}).get(RECIPE)
        if own:
            change["methods"] = {label.name: {RECIPE: _without(own, [*searched, ZIP])}}
        if change:
            yield override.model_copy(update={"set": change})


def _overrides_of(name: str, base: MatrixSpec) -> Iterator[Override]:
    """Yield the overrides without the values of other labels."""
    for override in base.override:
        own = {label: change for label, change in override.set.get("methods", {}).items() if label == name}
        change = {key: value for key, value in override.set.items() if key != "methods"}
        yield override.model_copy(update={"set": {**change, "methods": own} if own else change})


def _without(table: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """Return a table of the recipe without these keys, such as `optimizer.lr`."""

    def visit(one: Mapping[str, Any], prefix: str) -> dict[str, Any]:
        left = {key: value for key, value in one.items() if prefix + key not in keys}
        return {
            key: visit(value, f"{prefix}{key}.") if isinstance(value, Mapping) else value for key, value in left.items()
        }

    return visit(table, "")


def _as_table(value: object) -> dict[str, Any]:
    """Return a copy of a table; a name is short for one."""
    return dict(value) if isinstance(value, Mapping) else {"name": value}
