"""The search space of a method or sum: ranges and defaults of its hyperparameters."""

from collections.abc import Iterator, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

from kdbench import methods
from kdbench.errors import MethodError
from kdbench.hyperparameters import Hyperparameter, Tune, declared, defaults


def search_space(parts: Sequence[str]) -> dict[str, BaseDistribution]:
    """Return the ranges of the hyperparameters to search; in a sum a name starts with its part and a dot.

    A hyperparameter that is active only in some mode (`When`) is searched if the default mode is that one.

    Raises:
        MethodError: a method is unknown, or no hyperparameter has a range.
    """
    space = {name: _distribution(parameter, parameter.tune) for name, parameter in _searched(parts) if parameter.tune}
    if not space:
        raise MethodError(
            f"'{' + '.join(parts)}' declares no range to search; `kdbench list methods NAME` prints a method's ranges"
        )
    return space


def default_configuration(parts: Sequence[str]) -> dict[str, Any]:
    """Return the defaults of the hyperparameters to search, without those that have no default."""
    values = {_full_name(parts, part, name): value for part in parts for name, value in _defaults(part).items()}
    return {name: values[name] for name, _ in _searched(parts) if name in values}


def _searched(parts: Sequence[str]) -> Iterator[tuple[str, Hyperparameter]]:
    for part in parts:
        for parameter in declared(methods.find(part)).values():
            if parameter.tune is not None and parameter.is_active(_defaults(part)):
                yield _full_name(parts, part, parameter.name), parameter


def _defaults(part: str) -> dict[str, Any]:
    return defaults(methods.find(part))


def _full_name(parts: Sequence[str], part: str, name: str) -> str:
    return name if len(parts) == 1 else f"{part}.{name}"


def _distribution(parameter: Hyperparameter, searched: Tune) -> BaseDistribution:
    if parameter.annotation.__origin__ is int:
        return IntDistribution(int(searched.low), int(searched.high), log=searched.log)
    return FloatDistribution(searched.low, searched.high, log=searched.log)
