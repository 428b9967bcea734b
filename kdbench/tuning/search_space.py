"""The search space of a label: the ranges of its hyperparameters, and the values that its lists offer."""

from collections.abc import Iterable
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from kdbench import methods
from kdbench.errors import MethodError
from kdbench.hyperparameters import Hyperparameter, Tune, declared, resolve
from kdbench.matrix.sweep import RECIPE, Key
from kdbench.tuning.label import Label

Space = dict[Key, BaseDistribution]


def search_space(label: Label) -> Space:
    """Return what is searched: by default every hyperparameter with a range that is active (`When`).

    A value that the table of the label fixes is not searched. A list is searched in the range of its hyperparameter,
    or, without a range, among its values.

    Raises:
        MethodError: nothing is left to search, a value is invalid or inactive, or another hyperparameter depends on a
            list.
    """
    space: Space = {}
    for part in label.parts:
        known = declared(methods.find(part))
        complete = _complete(label, part)
        for name, parameter in known.items():
            key = (part, name)
            if key not in label.fixed and name in complete and (parameter.tune or key in label.lists):
                space[key] = _distribution(label, key, parameter)
        _check_conditions(label, part, known.values())
    space |= {key: _choices(label, key) for key in label.lists if key[0] == RECIPE}
    if not space:
        fixed = ", ".join(map(label.full_name, label.fixed))
        raise MethodError(
            f"'{label.name}' declares no range to search{f' beside {fixed}, which the matrix fixes' if fixed else ''}; "
            "`kdbench list methods NAME` prints a method's ranges"
        )
    return space


def default_configuration(label: Label, space: Space) -> dict[Key, Any]:
    """Return the first configuration: the defaults, without hyperparameters that have none.

    Of a list without a range it is the default if the list has it, else the first value.
    """
    found: dict[Key, Any] = {}
    for key, searched in space.items():
        part, name = key
        parameter = None if part == RECIPE else declared(methods.find(part))[name]
        default = None if parameter is None else parameter.default_in(_complete(label, part))
        if isinstance(searched, CategoricalDistribution):
            found[key] = default if default in searched.choices else searched.choices[0]
        elif parameter is not None and not parameter.is_required:
            found[key] = default
    return found


def _complete(label: Label, part: str) -> dict[str, object]:
    """Return the active hyperparameters of a method, with the fixed values, the first of each list, and defaults."""
    owner, given = methods.find(part), label.given(part)
    required = {
        name: parameter.tune.low
        for name, parameter in declared(owner).items()
        if parameter.is_required and parameter.tune
    }
    try:
        return resolve(owner, {**required, **given}, part)
    except MethodError as error:
        raise MethodError(f"methods.{label.name}: {error}" if given else str(error)) from None


def _check_conditions(label: Label, part: str, known: Iterable[Hyperparameter]) -> None:
    for parameter in known:
        for name, _ in parameter.when.values if parameter.when else ():
            if (part, name) in label.lists:
                raise MethodError(
                    f"methods.{label.name}.{name}: must be one value to tune, got a list, because {parameter.name} is "
                    f"active only with {parameter.when}; write one label per value"
                )


def _distribution(label: Label, key: Key, parameter: Hyperparameter) -> BaseDistribution:
    if parameter.tune is None:
        return _choices(label, key)
    return _range(parameter, parameter.tune)


def _choices(label: Label, key: Key) -> BaseDistribution:
    values = label.lists[key]
    wrong = next((value for value in values if not isinstance(value, bool | int | float | str)), None)
    if wrong is not None:
        raise MethodError(
            f"methods.{label.name}: {label.full_name(key)} has no range, and its values cannot be searched, "
            f"got {wrong!r}; give one value"
        )
    return CategoricalDistribution(list(values))


def _range(parameter: Hyperparameter, searched: Tune) -> BaseDistribution:
    if parameter.annotation.__origin__ is int:
        return IntDistribution(int(searched.low), int(searched.high), log=searched.log)
    return FloatDistribution(searched.low, searched.high, log=searched.log)
