"""The configurations of a label: lists of `[methods.LABEL]` and of the recipe are swept, `zip` sweeps keys together."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kdbench.errors import MatrixError
from kdbench.matrix.recipe_sweep import ZIP, swept_values

RECIPE = "recipe"  # stands for a method where a value is one of the recipe
OTHER_KEYS = ("method", ZIP, RECIPE)  # of a label, beside hyperparameters

Values = dict[str, dict[str, Any]]  # method or "recipe" -> key -> value
Key = tuple[str, str]  # method or "recipe", key


def part_names(label: str, table: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the methods of a label: its key `method`, or the label itself ("triplet + vanilla").

    Raises:
        MatrixError: `method` is neither a name nor a list of different names.
    """
    named = table.get("method", [name.strip() for name in label.split("+")])
    names = [named] if isinstance(named, str) else named
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name for name in names):
        raise MatrixError(f"methods.{label}.method: must be a method's name or a list of them, got {named!r}")
    if len(set(names)) < len(names):
        raise MatrixError(f"methods.{label}.method: must not repeat a method, got {names!r}")
    return tuple(names)


def configurations(
    label: str, table: Mapping[str, Any], is_list: Callable[[str, str], bool], recipe: Mapping[str, Any]
) -> list[Values]:
    """Return every configuration of a label, in the order of its keys; the last key varies fastest.

    Args:
        label: the label.
        table: its table in the matrix, without its key `recipe`.
        is_list: whether a hyperparameter (method, key) is a list by type; it is swept by a list of lists.
        recipe: the recipe of its students, with the lists that are swept and their `zip`.

    Raises:
        MatrixError: a sweep is empty, a `zip` has unequal lengths or unknown keys, or a key of a sum has no method.
    """
    where = f"methods.{label}"
    parts = part_names(label, table)
    axes = {(RECIPE, key): values for key, values in swept_values(recipe).items()}
    groups = _zipped(RECIPE, [RECIPE], recipe.get(ZIP, []), axes)
    axes |= {key: _values(where, key, value, is_list(*key)) for key, value in _by_part(where, parts, table).items()}
    groups += _zipped(where, parts, table.get(ZIP, []), axes)
    groups = _with_single_keys(where, parts, groups, axes)
    choices = [
        [dict(zip(group, row, strict=True)) for row in zip(*(axes[k] for k in group), strict=True)] for group in groups
    ]
    for group, rows in zip(groups, choices, strict=True):
        _check_repetition(where, group, rows)
    return [_assemble([RECIPE, *parts], combination) for combination in itertools.product(*choices)]


def values_by_key(
    label: str, table: Mapping[str, Any], is_list: Callable[[str, str], bool]
) -> dict[Key, tuple[list[Any], bool]]:
    """Return the values of each hyperparameter in the table of a label, and whether they are a list that is swept.

    Raises:
        MatrixError: a list is empty, or a key of a sum has no method.
    """
    where = f"methods.{label}"
    given = _by_part(where, part_names(label, table), table)
    values = {key: _values(where, key, value, is_list(*key)) for key, value in given.items()}
    return {key: (found, found is given[key]) for key, found in values.items()}


def _check_repetition(where: str, group: Sequence[Key], rows: Sequence[Mapping[Key, Any]]) -> None:
    for index, row in enumerate(rows):
        if row in rows[:index]:
            path = RECIPE if {part for part, _ in group} == {RECIPE} else where
            keys, values = ", ".join(key for _, key in group), ", ".join(map(repr, row.values()))
            raise MatrixError(f"{path}.{keys}: must not repeat a value, got {values} twice")


def _assemble(parts: Sequence[str], combination: Sequence[Mapping[Key, Any]]) -> Values:
    configuration: Values = {part: {} for part in parts}
    for chosen in combination:
        for (part, key), value in chosen.items():
            configuration[part][key] = value
    return configuration


def _by_part(where: str, parts: Sequence[str], table: Mapping[str, Any]) -> dict[Key, Any]:
    own = {key: value for key, value in table.items() if key not in OTHER_KEYS}
    tables = {key: value for key, value in own.items() if key in parts and isinstance(value, Mapping)}
    found = {(part, key): value for part, inner in tables.items() for key, value in inner.items()}
    for key, value in own.items():
        if key in tables:
            continue
        if len(parts) > 1:
            keys = " or ".join(f"{part}.{key}" for part in parts)
            raise MatrixError(f"{where}.{key}: the method of this key is ambiguous; write {keys}")
        if (parts[0], key) in found:
            raise MatrixError(f"{where}.{key}: given twice, here and as {parts[0]}.{key}; remove one")
        found[parts[0], key] = value
    return found


def _values(where: str, key: Key, value: object, is_list: bool) -> list[Any]:
    if not isinstance(value, list) or (is_list and not (value and all(isinstance(v, list) for v in value))):
        return [value]
    if not value:
        raise MatrixError(f"{where}.{key[1]}: must have at least 1 value, got []; give a value or remove the key")
    return value


def _zipped(where: str, parts: Sequence[str], zipped: object, axes: Mapping[Key, list[Any]]) -> list[tuple[Key, ...]]:
    """Return the groups of keys that a `zip` sweeps together."""
    if not isinstance(zipped, list) or not all(isinstance(group, list) and group for group in zipped):
        raise MatrixError(
            f'{where}.zip: must be a list of lists of keys, like [["alpha", "temperature"]], got {zipped!r}'
        )
    groups = [tuple(_key(where, parts, name, axes) for name in group) for group in zipped]
    for group, names in zip(groups, zipped, strict=True):
        lengths = [len(axes[key]) for key in group]
        if len(set(lengths)) > 1:
            counted = ", ".join(f"{name} has {n}" for name, n in zip(names, lengths, strict=True))
            raise MatrixError(f"{where}.zip: keys of a group must have lists of equal length; {counted}")
    return groups


def _with_single_keys(
    where: str, parts: Sequence[str], groups: Sequence[tuple[Key, ...]], axes: Mapping[Key, list[Any]]
) -> list[tuple[Key, ...]]:
    """Return the groups, and one for each key that is in none; those of the recipe come first."""
    zipped = [key for group in groups for key in group]
    repeated = [key for index, key in enumerate(zipped) if key in zipped[:index]]
    if repeated:
        raise MatrixError(f"{where}.zip: must not repeat a key, got '{_shown(parts, repeated[0])}' twice")
    return sorted(
        [*groups, *((key,) for key in axes if key not in zipped)],
        key=lambda group: all(part != RECIPE for part, _ in group),
    )


def _key(where: str, parts: Sequence[str], name: object, axes: Mapping[Key, list[Any]]) -> Key:
    """Return the key of a name in a `zip`: a hyperparameter, or `recipe.KEY`; in `[recipe]` it is relative to that."""
    part, _, inner = str(name).rpartition(".")
    key = (part or parts[0], inner)
    if parts == [RECIPE]:
        key = (RECIPE, str(name))
    elif str(name).startswith(f"{RECIPE}."):
        key = (RECIPE, str(name).removeprefix(f"{RECIPE}."))
    if key not in axes:
        known = ", ".join(_shown(parts, one) for one in axes)
        raise MatrixError(f"{where}.zip: unknown key '{name}'; valid: {known or 'none'}")
    return key


def _shown(parts: Sequence[str], key: Key) -> str:
    """Return how a `zip` writes a key."""
    part, name = key
    return name if len(parts) == 1 and part == parts[0] else f"{part}.{name}"
