"""Find a method's class by its name; return its family, its paper and the hash of its source."""

from importlib.metadata import entry_points

import kdbench.methods
from kdbench import source_code
from kdbench.citation import short_citation
from kdbench.custom_code import import_object
from kdbench.errors import KdbenchError, MethodError, did_you_mean
from kdbench.training.method import Method

_KDBENCH = "kdbench."
_BUILT_IN = "kdbench.methods."


def find(name: str) -> type[Method]:
    """Return the class that a name stands for: a key of `METHODS`, an entry point, or "package.module:Class".

    Raises:
        MethodError: the name is unknown, or the class cannot be imported or is not a final subclass of `Method`.
    """
    if name in kdbench.methods.METHODS:
        return kdbench.methods.METHODS[name]
    method = _import(name)
    if not (isinstance(method, type) and issubclass(method, Method) and "__final__" in vars(method)):
        raise MethodError(f"'{name}' must be a @final class derived from kdbench.Method, got {method!r}")
    return method


def family(name: str) -> str:
    """Return the family of a method, which is the folder of its file, such as "response"; "custom" for your own.

    Raises:
        MethodError: as `find`.
    """
    module = find(name).__module__
    return module.removeprefix(_BUILT_IN).partition(".")[0] if module.startswith(_BUILT_IN) else "custom"


def short_paper(name: str) -> str:
    """Return a method's paper as a text cites it, such as "Hinton et al. 2015".

    Raises:
        MethodError: as `find`.
    """
    return short_citation(find(name).paper)


def source_hash(name: str) -> str | None:
    """Return the hash of the source of a user's own method, as `source_code.source_hash`; None for kdbench's methods.

    Raises:
        MethodError: as `find`, or the class is not defined in a file.
    """
    method = find(name)
    if method.__module__.startswith(_KDBENCH):
        return None
    named, colon, _ = name.partition(":")
    try:
        return source_code.source_hash(method.__module__, *([named] if colon else []))
    except (OSError, KdbenchError) as error:
        raise MethodError(
            f"the source of method '{name}' cannot be read: {error}; define the class in a file that can be imported"
        ) from error


def _import(name: str) -> object:
    plugins = entry_points(group="kdbench.methods")
    try:
        if name in plugins.names:
            return plugins[name].load()
        if ":" in name:
            return import_object(name)
    except (ImportError, AttributeError) as error:
        raise MethodError(f"method '{name}' cannot be imported from its entry point: {error}") from error
    except KdbenchError as error:
        raise MethodError(f"method '{name}': {error}") from error
    hint = did_you_mean(name, {*kdbench.methods.METHODS, *plugins.names})
    label = "; a label that is no method's name needs the key 'method'" if hint.startswith("valid") else ""
    raise MethodError(f"unknown method '{name}'; {hint}{label}")
