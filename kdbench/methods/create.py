"""Build a method by its name, or return the reason why a pair of networks is incompatible with it."""

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

_ROLES = {"student": "a student", "teacher": "a teacher", "teachers": "teachers", "peers": "peers", "task": "a task"}


def create(
    method: str | Sequence[str],
    *,
    student: nn.Module,
    teacher: nn.Module | None = None,
    teachers: Sequence[nn.Module] = (),
    peers: Sequence[nn.Module] = (),
    task: Task | None = None,
    parameters: Mapping[str, Mapping[str, object]] | None = None,
    **hyperparameters: object,
) -> Method:
    """A method by its name, or the sum of several; teachers are frozen.

    The hyperparameters of a sum are given by part: `parameters={"vanilla": {"temperature": 4.0}}`.

    Raises:
        MethodError: an unknown method or hyperparameter, a missing role, or parts that cannot be summed.
    """
    names = _names(method)
    given = _by_part(names, parameters or {}, hyperparameters)
    filled: dict[str, object] = {
        "student": student,
        "teacher": None if teacher is None else Frozen.of(teacher),
        "teachers": [Frozen.of(t) for t in teachers] or None,
        "peers": list(peers) or None,
        "task": task,
    }
    parts = {name: _build(name, filled, given.get(name, {}), summed=len(names) > 1) for name in names}
    if len(parts) == 1:
        return parts[names[0]]
    return Sum({name: part for name, part in parts.items() if isinstance(part, Offline)})


def check(
    names: str | Sequence[str],
    parameters: Mapping[str, Mapping[str, object]],
    student: Shapes,
    teacher: Shapes | None,
    task: Task,
) -> str | None:
    """Why a method, or the sum of several, cannot run on a pair of networks, or None; `parameters` as for `create`.

    Raises:
        MethodError: an unknown method or hyperparameter, or a value that breaks its rule.
    """
    parts = _names(names)
    given = _by_part(parts, parameters, {})
    reasons = (_reason(name, given.get(name, {}), student, teacher, task, len(parts) > 1) for name in parts)
    return next((reason for reason in reasons if reason), None)


def _reason(
    name: str, given: Mapping[str, object], student: Shapes, teacher: Shapes | None, task: Task, summed: bool
) -> str | None:
    method = find(name)
    complete = resolve(method, given, name)
    reason = not_summable(method, **complete) if summed else None
    if reason:
        return f"{name} cannot be a part of a sum: {reason}"
    if issubclass(method, Offline) and teacher is None:
        return f"{name} needs a teacher"
    reason = method.incompatible(student, teacher, task, **complete)
    return f"{name} {reason}" if reason else None


def _names(method: str | Sequence[str]) -> tuple[str, ...]:
    names = (method,) if isinstance(method, str) else tuple(method)
    if not names or len(set(names)) < len(names):
        raise MethodError(f"a sum needs methods that differ from one another, got {list(names)}")
    return names


def _by_part(
    names: Sequence[str], parameters: Mapping[str, Mapping[str, object]], alone: Mapping[str, object]
) -> Mapping[str, Mapping[str, object]]:
    for name in parameters:
        if name not in names:
            raise MethodError(f"parameters are given for '{name}', which is not asked for; {did_you_mean(name, names)}")
    if not alone:
        return parameters
    if len(names) > 1:
        raise MethodError(f"which method of the sum has {', '.join(alone)}? write parameters={{'{names[0]}': {{...}}}}")
    return {names[0]: {**parameters.get(names[0], {}), **alone}}


def _build(name: str, filled: Mapping[str, object], given: Mapping[str, object], *, summed: bool) -> Method:
    method: Any = find(name)
    complete = resolve(method, given, name)
    if summed and (reason := not_summable(method, **complete)):
        raise MethodError(f"'{name}' cannot be a part of a sum: {reason}")
    fitting = {}
    for role, required in roles(method).items():
        if role not in _ROLES:
            raise MethodError(f"'{name}' asks for the role '{role}'; {did_you_mean(role, _ROLES)}")
        if filled[role] is not None:
            fitting[role] = filled[role]
        elif required:
            raise MethodError(f"'{name}' needs {_ROLES[role]}; pass {role}=...")
    built: Method = method(**fitting, **complete)
    return built
