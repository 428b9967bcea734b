"""Sweeps of recipe values: a list where the schema expects one value."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from kdbench.matrix.recipe import Recipe

ZIP = "zip"  # the key of a recipe that lists the keys swept together


def swept_values(table: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return the values of each swept key of a recipe, such as `optimizer.lr`.

    A list is swept where the schema expects one value; where it expects a list (`augment`), a list of lists is.

    >>> swept_values({"optimizer": {"lr": [0.1, 0.2]}, "augment": ["flip"], "epochs": 3})
    {'optimizer.lr': [0.1, 0.2]}
    """
    return {key: value for key, value in _flatten(table, "") if isinstance(value, list) and _is_swept(key, value)}


def with_values(table: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe with one value for each key that is given, and without `zip`.

    >>> with_values({"optimizer": {"lr": [0.1, 0.2]}, "epochs": 3}, {"optimizer.lr": 0.2})
    {'optimizer': {'lr': 0.2}, 'epochs': 3}
    """
    result = {key: value for key, value in table.items() if key != ZIP}
    for key, value in values.items():
        result = _with_value(result, key.split("."), value)
    return result


def _with_value(table: Mapping[str, Any], path: Sequence[str], value: object) -> dict[str, Any]:
    name, *below = path
    return {**table, name: _with_value(table[name], below, value) if below else value}


def variations(table: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield recipes with one value for each key, such that every swept value is in one of them."""
    values = swept_values(table)
    first = {key: some[0] for key, some in values.items()}
    yield with_values(table, first)
    for key, some in values.items():
        for value in some[1:]:
            yield with_values(table, {**first, key: value})


def _flatten(table: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _is_swept(key: str, value: list[Any]) -> bool:
    is_list = _value_keys().get(key)
    if is_list is None:  # a table, or no key of a recipe: the schema has the error
        return False
    return not is_list or (bool(value) and all(isinstance(one, list) for one in value))


@cache
def _value_keys() -> Mapping[str, bool]:
    """Return the keys of a recipe that are not tables, and whether each is a list by type."""
    found: dict[str, bool] = {}

    def visit(model: type[BaseModel], prefix: str) -> None:
        for name, field in model.model_fields.items():
            types = _members(field.annotation)
            tables = [one for one in types if isinstance(one, type) and issubclass(one, BaseModel)]
            for table in tables:
                visit(table, f"{prefix}{name}.")
            if not tables:
                found[prefix + name] = any(get_origin(one) is tuple for one in types)

    visit(Recipe, "")
    return found


def _members(annotation: Any) -> list[Any]:
    """Return the types of a union, or the type itself."""
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [member for one in get_args(annotation) for member in _members(one)]
    return [annotation]
