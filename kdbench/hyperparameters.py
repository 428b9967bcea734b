"""Hyperparameters as a constructor declares them: name, type, bounds, default and the range that `tune` may search."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, final, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from kdbench.errors import MethodError, did_you_mean
from kdbench.matrix.identity import Since


@final
@dataclass(frozen=True)
class Tune:
    """The range that `kdbench tune` searches: from `low` to `high`, evenly in the logarithm if `log`."""

    low: float
    high: float
    log: bool = False


@final
@dataclass(frozen=True)
class Hyperparameter:
    """One keyword-only argument of a method."""

    name: str
    annotation: Any
    default: object
    tune: Tune | None

    @property
    def required(self) -> bool:
        """Whether the matrix has to give it."""
        return self.default is inspect.Parameter.empty

    def describe(self) -> str:
        """Its type and bounds, in words for a table."""
        return _describe(self.annotation)

    def validate(self, value: object) -> object:
        """The value in its declared type; a list where a tuple is declared, since TOML has no tuples.

        Raises:
            MethodError: the value has another type, is out of bounds, or is not finite.
        """
        given = tuple(value) if isinstance(value, list) and self._is_tuple else value
        try:
            return self._adapter.validate_python(given)
        except ValidationError as error:
            rule = error.errors(include_url=False)[0]["msg"].replace("Input should be", "must be")
            raise MethodError(f"{self.name} {rule}, got {value!r}; declared as {self.describe()}") from None

    @cached_property
    def _adapter(self) -> TypeAdapter[object]:
        return TypeAdapter(self.annotation, config=ConfigDict(strict=True, allow_inf_nan=False))

    @property
    def _is_tuple(self) -> bool:
        bare = get_args(self.annotation)[0] if get_origin(self.annotation) is Annotated else self.annotation
        return get_origin(bare) is tuple


def _describe(annotation: Any) -> str:
    kind, arguments = get_origin(annotation), get_args(annotation)
    if kind is Annotated:
        return " ".join(filter(None, (_describe(arguments[0]), _bounds(arguments[1:]))))
    if kind is Literal:
        return " | ".join(map(repr, arguments))
    if kind in (Union, UnionType):
        return " | ".join(map(_describe, arguments))
    if kind is not None:
        return f"{kind.__name__}[{', '.join(map(_describe, arguments))}]"
    return {NoneType: "none", Ellipsis: "..."}.get(annotation) or annotation.__name__


def _bounds(metadata: Iterable[object]) -> str:
    """An interval, such as "in [0, 1)", or the one bound that there is, such as "> 0"."""
    signs = {"gt": (">", "("), "ge": (">=", "["), "lt": ("<", ")"), "le": ("<=", "]")}
    found = [(*signs[key], getattr(m, key)) for key in signs for m in metadata if getattr(m, key, None) is not None]
    if len(found) == 2:
        (_, opening, low), (_, closing, high) = found
        return f"in {opening}{low:g}, {high:g}{closing}"
    return " ".join(f"{sign} {bound:g}" for sign, _, bound in found)


@cache
def declared(owner: Callable[..., object]) -> Mapping[str, Hyperparameter]:
    """The hyperparameters of a method's class (or of any callable): its keyword-only arguments, in their order."""
    hints = _hints(owner)
    return {
        name: Hyperparameter(name, hints.get(name, Any), parameter.default, _tune(hints.get(name)))
        for name, parameter in inspect.signature(owner).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }


@cache
def roles(owner: Callable[..., object]) -> Mapping[str, bool]:
    """The roles of a method's class: its positional arguments, and whether each must be given."""
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return {
        name: parameter.default is inspect.Parameter.empty
        for name, parameter in inspect.signature(owner).parameters.items()
        if parameter.kind in positional
    }


def resolve(owner: Callable[..., object], given: Mapping[str, object], name: str) -> dict[str, object]:
    """All hyperparameters of `owner` in their declared types, defaults filled in.

    Raises:
        MethodError: an unknown name, a missing one, or a value that breaks its rule.
    """
    known = declared(owner)
    for key in given:
        if key not in known:
            raise MethodError(f"'{name}' has no hyperparameter '{key}'; {did_you_mean(key, known)}")
    missing = [key for key, parameter in known.items() if parameter.required and key not in given]
    if missing:
        raise MethodError(f"'{name}' needs a value for {', '.join(missing)}")
    return {
        key: parameter.validate(given[key]) if key in given else parameter.default for key, parameter in known.items()
    }


def identity_fields(owner: Callable[..., object], complete: Mapping[str, object]) -> dict[str, object]:
    """The hyperparameters that enter a run's identity.

    Those marked `Since(...)`, added after the first release, are left out while they hold their default.
    """
    known = declared(owner)
    return {
        name: value
        for name, value in complete.items()
        if not (_is_later(known[name].annotation) and value == known[name].default)
    }


def _is_later(annotation: Any) -> bool:
    return any(isinstance(a, Since) for a in get_args(annotation))


def _hints(owner: Callable[..., object]) -> dict[str, Any]:
    function = owner.__init__ if isinstance(owner, type) else owner  # type: ignore[misc]
    return get_type_hints(function, include_extras=True)


def _tune(annotation: Any) -> Tune | None:
    return next((a for a in get_args(annotation) if isinstance(a, Tune)), None)
