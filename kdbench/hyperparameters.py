"""Hyperparameters as a constructor declares them: type, bounds, default, search range and condition."""

import inspect
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, final, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from kdbench.errors import MethodError, did_you_mean
from kdbench.matrix.identity import Since

M = TypeVar("M")


@final
@dataclass(frozen=True)
class Tune:
    """The range that `kdbench tune` searches: from `low` to `high`, on a logarithmic scale if `log`."""

    low: float
    high: float
    log: bool = False


@final
@dataclass(frozen=True, init=False)
class When:
    """A condition on other hyperparameters under which a hyperparameter is active: `When(mode="two_stage")`.

    Otherwise it may not be given, is not searched by `kdbench tune`, and is not part of a run's identity.
    """

    values: tuple[tuple[str, Hashable], ...]

    def __init__(self, **values: Hashable) -> None:
        object.__setattr__(self, "values", tuple(values.items()))

    def is_met(self, configuration: Mapping[str, object]) -> bool:
        """Return whether a configuration has all the values."""
        return all(name in configuration and configuration[name] == value for name, value in self.values)

    def __str__(self) -> str:
        return " and ".join(f"{name} = {value!r}" for name, value in self.values)


@final
@dataclass(frozen=True, init=False)
class DefaultBy:
    """Defaults that depend on another hyperparameter: `DefaultBy(variant={"paper": 1.0})`.

    The default in the signature holds with every value that is not listed.
    """

    cases: tuple[tuple[str, Hashable, object], ...]  # the other hyperparameter, its value, the default

    def __init__(self, **defaults: Mapping[Any, object]) -> None:
        cases = [(name, value, default) for name, values in defaults.items() for value, default in values.items()]
        object.__setattr__(self, "cases", tuple(cases))


@final
@dataclass(frozen=True)
class Hyperparameter:
    """One keyword-only argument of a method; `default` is the one in the signature."""

    name: str
    annotation: Any
    default: object

    @property
    def is_required(self) -> bool:
        """Whether it has no default, so that a matrix must give it."""
        return self.default is inspect.Parameter.empty

    @property
    def tune(self) -> Tune | None:
        """The range to search; of several, the last one in the annotation."""
        return self._marker(Tune)

    @property
    def when(self) -> When | None:
        """The condition under which it is active; None: always."""
        return self._marker(When)

    @property
    def default_by(self) -> DefaultBy | None:
        """The defaults that depend on another hyperparameter."""
        return self._marker(DefaultBy)

    @property
    def is_later(self) -> bool:
        """Whether it was added after the first release (`Since`)."""
        return self._marker(Since) is not None

    def is_active(self, configuration: Mapping[str, object]) -> bool:
        """Return whether it is active in a configuration of the hyperparameters declared before it."""
        return self.when is None or self.when.is_met(configuration)

    def default_in(self, configuration: Mapping[str, object]) -> object:
        """Return its default in a configuration of the hyperparameters declared before it."""
        cases = self.default_by.cases if self.default_by else ()
        found = (default for name, value, default in cases if name in configuration and configuration[name] == value)
        return next(found, self.default)

    def describe(self) -> str:
        """Return its type and bounds as text, such as "float in [0, 1]"."""
        return _describe(self.annotation)

    def validate(self, value: object) -> object:
        """Return the value in its declared type; a list becomes a tuple where one is declared, as TOML has no tuples.

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

    def _marker(self, kind: type[M]) -> M | None:
        return next((m for m in reversed(get_args(self.annotation)) if isinstance(m, kind)), None)


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
    """Return an interval, such as "in [0, 1)", or a single bound, such as "> 0"."""
    signs = {"gt": (">", "("), "ge": (">=", "["), "lt": ("<", ")"), "le": ("<=", "]")}
    found = [(*signs[key], getattr(m, key)) for key in signs for m in metadata if getattr(m, key, None) is not None]
    if len(found) == 2:
        (_, opening, low), (_, closing, high) = found
        return f"in {opening}{low:g}, {high:g}{closing}"
    return " ".join(f"{sign} {bound:g}" for sign, _, bound in found)


@cache
def declared(owner: Callable[..., object]) -> Mapping[str, Hyperparameter]:
    """Return the hyperparameters of a method's class (or of any callable): its keyword-only arguments, in their order.

    Raises:
        MethodError: a `When` or a `DefaultBy` names a hyperparameter that is not declared before, or a value that it
            does not accept; or a hyperparameter with a `When` has no default.
    """
    hints = _hints(owner)
    known: dict[str, Hyperparameter] = {}
    for name, parameter in inspect.signature(owner).parameters.items():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            found = Hyperparameter(name, hints.get(name, Any), parameter.default)
            try:
                _check_conditions(found, known)
            except MethodError as error:
                raise MethodError(f"{getattr(owner, '__name__', owner)}: {error}") from None
            known[name] = found
    return known


def _check_conditions(parameter: Hyperparameter, earlier: Mapping[str, Hyperparameter]) -> None:
    conditions = parameter.when.values if parameter.when else ()
    cases = parameter.default_by.cases if parameter.default_by else ()
    for name, value in [*conditions, *((name, value) for name, value, _ in cases)]:
        if name not in earlier:
            raise MethodError(
                f"{parameter.name} depends on '{name}', which is not declared before it; {did_you_mean(name, earlier)}"
            )
        earlier[name].validate(value)
    for name, _ in conditions:
        if earlier[name].tune:
            raise MethodError(f"{parameter.name} depends on {name}, which has a search range; remove its Tune")
    if conditions and parameter.is_required:
        raise MethodError(f"{parameter.name} is active only with {parameter.when} and has no default; give it one")
    for _, _, default in cases:
        parameter.validate(default)


@cache
def roles(owner: Callable[..., object]) -> Mapping[str, bool]:
    """Return the roles of a method's class: its positional arguments, and whether each must be given."""
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return {
        name: parameter.default is inspect.Parameter.empty
        for name, parameter in inspect.signature(owner).parameters.items()
        if parameter.kind in positional
    }


def resolve(owner: Callable[..., object], given: Mapping[str, object], name: str) -> dict[str, object]:
    """Return all active hyperparameters of `owner`, in their declared types and with defaults filled in.

    Raises:
        MethodError: a hyperparameter is unknown, missing, invalid, or not active in this configuration.
    """
    known = declared(owner)
    for key in given:
        if key not in known:
            raise MethodError(f"'{name}' has no hyperparameter '{key}'; {did_you_mean(key, known)}")
    missing = [key for key, parameter in known.items() if parameter.is_required and key not in given]
    if missing:
        raise MethodError(f"'{name}' needs a value for {', '.join(missing)}")
    complete = _complete(known, given)
    for key in given:
        if key not in complete:
            raise MethodError(_inactive(known[key], given[key], complete, name))
    return complete


def defaults(owner: Callable[..., object]) -> dict[str, object]:
    """Return the defaults of the hyperparameters that have one and are active if none is given."""
    return _complete(declared(owner), {})


def _complete(known: Mapping[str, Hyperparameter], given: Mapping[str, object]) -> dict[str, object]:
    complete: dict[str, object] = {}
    for key, parameter in known.items():
        if not parameter.is_active(complete):
            continue
        if key in given:
            complete[key] = parameter.validate(given[key])
        elif not parameter.is_required:
            complete[key] = parameter.default_in(complete)
    return complete


def _inactive(parameter: Hyperparameter, value: object, complete: Mapping[str, object], name: str) -> str:
    when, key = parameter.when, parameter.name
    names = [condition for condition, _ in when.values] if when else []
    present = " and ".join(f"{one} = {complete[one]!r}" for one in names if one in complete) or "this configuration"
    return (
        f"'{name}' does not use {key} = {value!r} with {present}; {key} is active only with {when}: remove {key} or "
        f"set {when}; to sweep over {', '.join(names)}, write one label per value"
    )


def identity_fields(owner: Callable[..., object], complete: Mapping[str, object]) -> dict[str, object]:
    """Return the hyperparameters that enter a run's identity, of those that `resolve` gives.

    One that was added after the first release, marked `Since(...)`, is left out while it has its default.
    """
    known = declared(owner)
    return {
        name: value
        for name, value in complete.items()
        if not (known[name].is_later and value == known[name].default_in(complete))
    }


def _hints(owner: Callable[..., object]) -> dict[str, Any]:
    function = owner.__init__ if isinstance(owner, type) else owner  # type: ignore[misc]
    return get_type_hints(function, include_extras=True)
