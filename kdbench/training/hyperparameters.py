"""Hyperparameters as a constructor declares them: name, type, bounds, default and the range that `tune` may search."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, final, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from kdbench.errors import MethodError, nearest


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
        """The value in its declared type.

        Raises:
            MethodError: the value has another type, is out of bounds, or is not finite.
        """
        try:
            return _adapter(self).validate_python(value)
        except ValidationError as error:
            rule = error.errors(include_url=False)[0]["msg"].replace("Input should be", "must be")
            raise MethodError(f"{self.name} {rule}, got {value!r}; declared as {self.describe()}") from None


@cache
def _adapter(parameter: Hyperparameter) -> TypeAdapter[object]:
    return TypeAdapter(parameter.annotation, config=ConfigDict(strict=True, allow_inf_nan=False))


def _describe(annotation: Any) -> str:
    if get_origin(annotation) is Annotated:
        kind, *bounds = get_args(annotation)
        shown = [_bound(b) for b in bounds if not isinstance(b, Tune)]
        return " ".join([_describe(kind), *(s for s in shown if s)])
    if annotation is type(None):
        return "none"
    if isinstance(annotation, type) and not get_args(annotation):
        return annotation.__name__
    if get_origin(annotation) is not None and str(get_origin(annotation)).endswith("Literal"):
        return " | ".join(repr(a) for a in get_args(annotation))
    if get_args(annotation) and not isinstance(get_origin(annotation), type):
        return " | ".join(_describe(a) for a in get_args(annotation))
    return " | ".join(_describe(a) for a in get_args(annotation)) if "|" in str(annotation) else str(annotation)


def _bound(bound: object) -> str:
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    return " ".join(f"{sign} {getattr(bound, key):g}" for key, sign in signs.items() if hasattr(bound, key))


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
            raise MethodError(f"'{name}' has no hyperparameter '{key}'; {nearest(key, known)}")
    missing = [key for key, parameter in known.items() if parameter.required and key not in given]
    if missing:
        raise MethodError(f"'{name}' needs a value for {', '.join(missing)}")
    return {
        key: parameter.validate(given[key]) if key in given else parameter.default for key, parameter in known.items()
    }


def _hints(owner: Callable[..., object]) -> dict[str, Any]:
    function = owner.__init__ if isinstance(owner, type) else owner  # type: ignore[misc]
    return get_type_hints(function, include_extras=True)


def _tune(annotation: Any) -> Tune | None:
    return next((a for a in get_args(annotation) if isinstance(a, Tune)), None)
