"""Checks of a method's class and signature."""

import inspect
from collections.abc import Iterable
from typing import Annotated, Any, get_args, get_origin

from kdbench.errors import MethodError
from kdbench.hyperparameters import Hyperparameter, Tune, declared, roles
from kdbench.testing.requirement import require
from kdbench.training.method import Method

ROLES = ("student", "teacher", "teachers", "peers", "task")


def check_class(method: type[Method]) -> None:
    """Require a final, documented subclass of `Method` that names its paper."""
    require(isinstance(method, type) and issubclass(method, Method), f"must be a subclass of Method, got {method!r}")
    require("__final__" in vars(method), "must be decorated with @typing.final")
    missing = sorted(getattr(method, "__abstractmethods__", ()))
    require(not missing, f"must implement {', '.join(missing)}")
    require(bool(getattr(method, "paper", "")), 'must name its paper: paper = "Author, Author, Venue Year, arXiv:id"')
    require(bool(vars(method).get("__doc__")), "must have a docstring")


def check_signature(method: type[Method]) -> None:
    """Require positional arguments that are roles, and keyword-only ones that are hyperparameters with bounds."""
    kinds = {name: p.kind for name, p in inspect.signature(method).parameters.items()}
    allowed = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    other = [name for name, kind in kinds.items() if kind not in allowed]
    require(not other, f"arguments must be positional-or-keyword (roles) or keyword-only, got {', '.join(other)}")
    unknown = [role for role in roles(method) if role not in ROLES]
    require(not unknown, f"positional arguments are roles ({', '.join(ROLES)}), got {', '.join(unknown)}")
    require(next(iter(roles(method)), None) == "student", "the first argument must be the role 'student'")
    try:
        hyperparameters = declared(method)
    except MethodError as error:
        raise AssertionError(str(error)) from error
    for parameter in hyperparameters.values():
        _check_hyperparameter(parameter)


def _check_hyperparameter(parameter: Hyperparameter) -> None:
    try:
        if not parameter.is_required:
            parameter.validate(parameter.default)
        if parameter.tune is not None:
            low, high = parameter.validate(parameter.tune.low), parameter.validate(parameter.tune.high)
            require(float(str(low)) < float(str(high)), f"{parameter.name}: the search range {parameter.tune} is empty")
    except MethodError as error:
        raise AssertionError(f"the default and the search range must be valid: {error}") from error
    numbers = [kind.__name__ for kind in unbounded(parameter.annotation)]
    require(not numbers, f"{parameter.name} must have bounds, such as Annotated[{', '.join(numbers)}, Ge(0)]")


def unbounded(annotation: Any, bounds: Iterable[object] = ()) -> list[type]:
    """Return the numeric types in an annotation to which no `Ge`, `Gt`, `Le` or `Lt` applies."""
    if get_origin(annotation) is Annotated:
        inner, *metadata = get_args(annotation)
        return unbounded(inner, [m for m in metadata if not isinstance(m, Tune)])
    if annotation in (int, float):
        return [] if any(hasattr(bound, key) for bound in bounds for key in ("ge", "gt", "le", "lt")) else [annotation]
    return [found for argument in get_args(annotation) for found in unbounded(argument)]
