"""Validation of plain data, with one error that names file, key, rule and value."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, final, get_args, get_origin

from pydantic import BaseModel, ValidationError

from kdbench.errors import MatrixError, did_you_mean

M = TypeVar("M", bound=BaseModel)
Location = Sequence[str | int]

MAX_DEPTH = 32

_RULES = {
    "model_type": "must be a table",
    "model_attributes_type": "must be a table or a name",
    "dict_type": "must be a table",
    "tuple_type": "must be a list",
    "string_pattern_mismatch": "must have letters, digits, '.', '_' and '-' only, and start with a letter or digit",
}


def check_plain(value: object, file: str, where: tuple[str | int, ...] = ()) -> None:
    """Refuse values that cannot be part of a run's identity: dates, NaN, infinity, long integers, deep nesting.

    Raises:
        MatrixError: with the file, the key's path, the rule and the value got.
    """
    if len(where) > MAX_DEPTH:
        raise MatrixError(
            f"{file}: {_path(where[:3])}...: tables and lists must not be nested deeper than {MAX_DEPTH} levels"
        )
    if isinstance(value, Mapping):
        for key, inner in value.items():
            check_plain(inner, file, (*where, key))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            check_plain(inner, file, (*where, index))
    elif rule := _not_plain(value):
        raise MatrixError(f"{file}: {_path(where)}: {rule}")


def validate(model: type[M], raw: Mapping[str, Any], file: str, where: tuple[str, ...]) -> M:
    """Return an instance of a model, or raise for the first fault; unknown keys come first.

    Raises:
        MatrixError: with the file, the key's path, the rule, the value got and the remedy.
    """
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        found = sorted(error.errors(include_url=False), key=lambda e: e["type"] != "extra_forbidden")
        raise MatrixError(f"{file}: {_describe([_fault(model, dict(e), where) for e in found])}") from None


@final
@dataclass(frozen=True)
class _Fault:
    path: str
    rule: str
    got: str = ""


def _describe(faults: Sequence[_Fault]) -> str:
    """Return the text of the first fault; for a key with several types, with the rules of each."""
    first, *others = faults
    alternatives = [f" or {fault.rule.removeprefix('must be ')}" for fault in others if fault.path == first.path]
    return f"{first.path}: {first.rule}{''.join(alternatives)}{first.got}"


def _fault(model: type[BaseModel], error: Mapping[str, Any], where: tuple[str, ...]) -> _Fault:
    location: Location = error["loc"]
    path = _path([*where, *_walk(model, location)[0]])
    kind, context = error["type"], error.get("ctx", {})
    got = f", got {_format(error['input'])}"
    if kind == "extra_forbidden":
        parent = _walk(model, location[:-1])[1]
        return _Fault(path, f"unknown key; {did_you_mean(str(location[-1]), set(parent.model_fields) - {'file'})}")
    if kind == "missing":
        return _Fault(path, "this key is required")
    if kind == "union_tag_invalid":
        names = [name.strip("' ") for name in context["expected_tags"].split(",")]
        return _Fault(path, f"unknown name {context['tag']!r}; {did_you_mean(context['tag'], names)}")
    if kind == "union_tag_not_found":
        return _Fault(path, "must have a key 'name'", got)
    if kind == "too_short":
        return _Fault(path, f"must have at least {context['min_length']} value", got)
    rule = re.sub(r"^(Input|String|Tuple) should", "must", error["msg"].removeprefix("Value error, "))
    return _Fault(path, _RULES.get(kind, rule), got)


def _not_plain(value: object) -> str | None:
    if value is None or isinstance(value, bool | str):
        return None
    if isinstance(value, int):
        fits = -(2**63) <= value < 2**63
        return None if fits else f"must be an integer of at most 64 bits, got {value.bit_length() + 1} bits"
    if isinstance(value, float):
        return None if math.isfinite(value) else f"must be a finite number, got {value}"
    return f"must be text, a number, true, false, a list or a table, got the {type(value).__name__} {value}"


def _path(location: Location) -> str:
    text = ""
    for key in location:
        text += f"[{key}]" if isinstance(key, int) else f".{key}"
    return text.removeprefix(".")


def _format(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _walk(annotation: Any, location: Location) -> tuple[list[str | int], Any]:
    """Return the keys of a location, without the tags that pydantic adds for unions, and the annotation there."""
    shown: list[str | int] = []
    for step in location:
        annotation = _bare(annotation)
        if get_origin(annotation) in (Union, UnionType):
            annotation = next((m for m in map(_bare, get_args(annotation)) if _tag(m) == step), None)
            continue
        if step == "[key]":
            continue
        shown.append(step)
        if _is_model(annotation):
            field = annotation.model_fields.get(step)
            annotation = field.annotation if field else None
        else:
            inner = [a for a in get_args(annotation) if a is not Ellipsis]
            annotation = inner[-1] if inner else None
    return shown, _bare(annotation)


def _bare(annotation: Any) -> Any:
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    if get_origin(annotation) in (Union, UnionType):
        members = [a for a in get_args(annotation) if a is not type(None)]
        return _bare(members[0]) if len(members) == 1 else annotation
    return annotation


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _tag(annotation: Any) -> object:
    field = annotation.model_fields.get("name") if _is_model(annotation) else None
    return field.default if field else None
