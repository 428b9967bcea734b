"""Build a method by its name, or return why a pair of networks is incompatible with it."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from kdbench.errors import MethodError, did_you_mean
from kdbench.hyperparameters import resolve, roles
from kdbench.methods.offline import Offline
from kdbench.methods.registry import find
from kdbench.methods.sums import Sum, not_summable
from kdbench.training.method import Method, Shapes, Task
from kdbench.training.network import Frozen

Parameters = Mapping[str, Mapping[str, object]]  # hyperparameters by the name of the method
_ROLES = {"student": "a student", "teacher": "a teacher", "teachers": "teachers", "peers": "peers", "task": "a task"}


def create(
    method: str | type[Method] | Sequence[str],
    *,
    student: nn.Module,
    teacher: nn.Module | None = None,
    teachers: Sequence[nn.Module] = (),
    peers: Sequence[nn.Module] = (),
    task: Task | None = None,
    parameters: Parameters | None = None,
    **hyperparameters: object,
) -> Method:
    """Build a method by its name or class, or the sum of several methods; teachers are frozen.

    The hyperparameters of a sum are given by part: `parameters={"vanilla": {"temperature": 4.0}}`. Hyperparameters that
    are not active in the configuration (`When`) are left out of the constructor's arguments.

    Raises:
        MethodError: a method or hyperparameter is unknown, a role is missing, or the parts cannot be summed.
    """
    classes = _classes(method)
    given = _by_part(list(classes), parameters or {}, hyperparameters)
    filled: dict[str, object] = {
        "student": student,
        "teacher": None if teacher is None else Frozen.of(teacher),
        "teachers": [Frozen.of(network) for network in teachers] or None,
        "peers": list(peers) or None,
        "task": task,
    }
    is_sum = len(classes) > 1
    parts = {name: _build(name, one, filled, given.get(name, {}), is_sum) for name, one in classes.items()}
    if not is_sum:
        return next(iter(parts.values()))
    return Sum({name: part for name, part in parts.items() if isinstance(part, Offline)})


def check(
    method: str | type[Method] | Sequence[str],
    parameters: Parameters,
    student: Shapes,
    teacher: Shapes | None,
    task: Task,
) -> str | None:
    """Return why a method, or the sum of several, is incompatible with a pair of networks, or None.

    `method` and `parameters` are those of `create`.

    Raises:
        MethodError: a method or hyperparameter is unknown, or a value is invalid.
    """
    classes = _classes(method)
    given = _by_part(list(classes), parameters, {})
    for name, one in classes.items():
        complete = resolve(one, given.get(name, {}), name)
        if len(classes) > 1 and (reason := not_summable(one, **complete)):
            return f"{name} cannot be a part of a sum: {reason}"
        if reason := one.incompatible(student, teacher, task, **complete):
            return f"{name} {reason}"
    return None


def _classes(method: str | type[Method] | Sequence[str]) -> dict[str, type[Method]]:
    """Return the classes of the parts by name; a single one is given by its name or class."""
    if isinstance(method, type):
        return {method.__name__: method}
    names = (method,) if isinstance(method, str) else tuple(method)
    if not names or len(set(names)) < len(names):
        raise MethodError(f"a sum must name one or more different methods, got {list(names)}")
    return {name: find(name) for name in names}


def _by_part(names: Sequence[str], parameters: Parameters, alone: Mapping[str, object]) -> Parameters:
    for name in parameters:
        if name not in names:
            raise MethodError(f"parameters are given for '{name}', which is not created; {did_you_mean(name, names)}")
    if not alone:
        return parameters
    if len(names) > 1:
        raise MethodError(
            f"{', '.join(alone)}: the parts of a sum have hyperparameters of their own; "
            f"write parameters={{'{names[0]}': {{...}}}}"
        )
    return {names[0]: {**parameters.get(names[0], {}), **alone}}


def _build(name: str, method: Any, filled: Mapping[str, object], given: Mapping[str, object], is_part: bool) -> Method:
    complete = resolve(method, given, name)
    if is_part and (reason := not_summable(method, **complete)):
        raise MethodError(f"'{name}' cannot be a part of a sum: {reason}")
    networks = {}
    for role, is_required in roles(method).items():
        if role not in _ROLES:
            raise MethodError(f"'{name}' has the unknown role '{role}'; {did_you_mean(role, _ROLES)}")
        if filled[role] is not None:
            networks[role] = filled[role]
        elif is_required:
            raise MethodError(f"'{name}' needs {_ROLES[role]}; pass {role}=...")
    built: Method = method(**networks, **complete)
    return built
