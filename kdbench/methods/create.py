"""Build a method by its name, or say why it cannot run on a pair."""

import importlib
import inspect
from collections.abc import Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from torch import nn

import kdbench.methods
from kdbench.errors import MethodError, did_you_mean
from kdbench.hyperparameters import resolve, roles
from kdbench.matrix.identity import digest
from kdbench.methods.offline import Offline
from kdbench.methods.sums import Sum, not_summable
from kdbench.training.method import Method, Shapes, Task
from kdbench.training.network import Frozen

_ROLES = {"student": "a student", "teacher": "a teacher", "teachers": "teachers", "peers": "peers", "task": "a task"}


def find(name: str) -> type[Method]:
    """The class that `name` stands for: a key of `METHODS`, an entry point, or "package.module:Class".

    Raises:
        MethodError: there is none, it cannot be imported, or it is not a final class derived from `Method`.
    """
    if name in kdbench.methods.METHODS:
        return kdbench.methods.METHODS[name]
    method = _imported(name)
    if not (isinstance(method, type) and issubclass(method, Method) and "__final__" in vars(method)):
        raise MethodError(f"'{name}' must be a @final class derived from kdbench.Method, got {method!r}")
    return method


def _imported(name: str) -> object:
    plugins = entry_points(group="kdbench.methods")
    try:
        if name in plugins.names:
            return plugins[name].load()
        module, colon, attribute = name.partition(":")
        if colon:
            return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise MethodError(f"method '{name}' cannot be imported: {error}; write it as 'package.module:Class'") from error
    raise MethodError(f"there is no method '{name}'; {did_you_mean(name, {*kdbench.methods.METHODS, *plugins.names})}")


def source_hash(name: str) -> str | None:
    """The hash of the source file of a user's own method; None for those of kdbench.

    Raises:
        MethodError: as `find`, or the class is in no file.
    """
    method = find(name)
    if method.__module__.startswith("kdbench."):
        return None
    try:
        return digest(Path(inspect.getfile(method)).read_text(encoding="utf-8"))
    except (OSError, TypeError) as error:
        raise MethodError(f"method '{name}' must be in a file, so that its source can be recorded") from error


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
        "teacher": None if teacher is None else _frozen(teacher),
        "teachers": [_frozen(t) for t in teachers] or None,
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


def _frozen(network: nn.Module) -> Frozen:
    return network if isinstance(network, Frozen) else Frozen(network)
