"""Resolution of `[recipe]` and the tables that refine it to the recipe of a run."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Literal, Protocol, final

from kdbench.errors import KdbenchError, MatrixError
from kdbench.matrix.identity import canonical
from kdbench.matrix.merge import merge_tables
from kdbench.matrix.recipe import Plateau, Recipe
from kdbench.matrix.recipe_sweep import swept_values, variations, with_values
from kdbench.matrix.schema import MatrixSpec
from kdbench.matrix.validation import validate

Role = Literal["teacher", "student"]
Layer = tuple[tuple[str, ...], object]  # where a table is in the file, and the table


class RecipeRegistry(Protocol):
    """What completes a recipe on this machine."""

    def recipe(self, recipe: Recipe) -> Recipe:
        """Return the recipe with its precision resolved."""


@final
class RecipeResolver:
    """Merges `[recipe]`, the table of a role, overrides and the table of a label, from the first to the last."""

    def __init__(self, matrix: MatrixSpec, registry: RecipeRegistry) -> None:
        self._matrix = matrix
        self._registry = registry
        self.table = cache(self._table)
        self._complete = cache(self._completed)

    def teacher(self, overrides: tuple[int, ...]) -> Recipe:
        """Return the recipe of a teacher.

        Raises:
            MatrixError: a value is invalid or swept.
        """
        table = self.table("teacher", overrides)
        for key, values in swept_values(table).items():
            if len(values) > 1:
                raise MatrixError(
                    f"{self._matrix.file}: recipe.{key}: the teacher needs one value, got {values}; "
                    f"set recipe.teacher.{key} to one value"
                )
        return self.complete("teacher", next(variations(table)), {})

    def complete(self, role: Role, table: Mapping[str, Any], values: Mapping[str, Any]) -> Recipe:
        """Return the recipe of a table with these values of its swept keys; the same object for the same recipe."""
        return self._complete(role, canonical(with_values(table, values)))

    def _completed(self, role: Role, text: str) -> Recipe:
        recipe = validate(Recipe, json.loads(text), self._matrix.file, ("recipe",))
        self._check_validation(recipe, role)
        try:
            return self._registry.recipe(recipe)
        except KdbenchError as error:
            raise MatrixError(f"{self._matrix.file}: recipe.{role}: {error}") from error

    def _table(self, role: Role, overrides: tuple[int, ...]) -> Mapping[str, Any]:
        """Return the table of a role, in which lists may be swept."""
        raw: Mapping[str, Any] = self._matrix.recipe
        table = self._refined(raw, role, ("recipe",))
        for index in overrides:
            raw = merge_tables(raw, self._change(index, role))
            table = self._refined(raw, role, (f"override[{index}]", "set", "recipe"))
        return table

    def _refined(self, raw: Mapping[str, Any], role: Role, where: tuple[str, ...]) -> Mapping[str, Any]:
        """Return the table of a role; errors name `where`, the table whose values are added."""
        shared = {key: value for key, value in raw.items() if key not in ("teacher", "student")}
        return self.add(self.add({}, (where, shared)), ((*where, role), raw.get(role, {})))

    def add(self, table: Mapping[str, Any], *layers: Layer) -> Mapping[str, Any]:
        """Return a table with those of further layers on it.

        Raises:
            MatrixError: a layer is not a table, or has an unknown key or an invalid value.
        """
        for where, layer in layers:
            path = ".".join(where)
            if not isinstance(layer, Mapping):
                raise MatrixError(f"{self._matrix.file}: {path}: must be a table, got {layer!r}")
            table = merge_tables(table, layer)
            for key, values in swept_values(table).items():
                if not values:
                    raise MatrixError(
                        f"{self._matrix.file}: {path}.{key}: must have at least 1 value, got []; "
                        "give a value or remove the key"
                    )
            for variation in variations(table):
                validate(Recipe, variation, self._matrix.file, where)
        return table

    def _change(self, index: int, role: Role) -> Mapping[str, Any]:
        """Return the values of `recipe` that an override sets for a role.

        An override that selects students or methods does not change their teacher, unless it sets `recipe.teacher`.
        """
        override = self._matrix.override[index]
        change = override.set.get("recipe", {})
        selects_student = override.when.student is not None or override.when.method is not None
        if role == "teacher" and selects_student:
            return {"teacher": change["teacher"]} if "teacher" in change else {}
        return change

    def _check_validation(self, recipe: Recipe, role: Role) -> None:
        """Raise if a run would read validation images that it does not have."""
        protocol = self._matrix.protocol
        if protocol.validation > 0 and not protocol.refit:
            return
        reason, remedy = (
            ("protocol.refit trains on them too", "change this key, or set protocol.refit = false")
            if protocol.refit
            else ("protocol.validation is 0", "set it to a fraction of the training images, such as 0.1")
        )
        for key in _validation_keys(recipe):
            where = f"{self._matrix.file}: recipe.{role}.{key}"
            raise MatrixError(f"{where}: needs validation images, but {reason}; {remedy}")


def _validation_keys(recipe: Recipe) -> Sequence[str]:
    """Return the keys of a recipe that read validation images."""
    is_used = {
        "schedule": isinstance(recipe.schedule, Plateau),
        "early_stopping": recipe.early_stopping is not None,
        "monitor": "monitor" in recipe.model_fields_set,
    }
    return [key for key, used in is_used.items() if used]
