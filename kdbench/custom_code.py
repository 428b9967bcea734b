"""Import of your own classes and functions by name."""

import importlib
from types import ModuleType

from kdbench.errors import KdbenchError, did_you_mean


def import_object(path: str) -> object:
    """Return the object that "package.module:name" refers to; the name may have dots.

    Raises:
        KdbenchError: the path has another form, the module is not found or raises, or it has no such name.
    """
    module_name, colon, name = path.partition(":")
    if not (module_name and colon and name):
        raise KdbenchError(f"must be written 'package.module:name', got '{path}'")
    found: object = _import_module(module_name)
    for part in name.split("."):
        if not hasattr(found, part):
            public = [key for key in vars(found) if not key.startswith("_")] if hasattr(found, "__dict__") else []
            raise KdbenchError(f"'{module_name}' has no '{name}'; {did_you_mean(name, public)}")
        found = getattr(found, part)
    return found


def _import_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise KdbenchError(
                f"module '{error.name}' not found; modules are searched in the current folder and on PYTHONPATH"
            ) from error
        raise KdbenchError(f"module '{name}' cannot be imported: {error}") from error
    except ImportError as error:
        raise KdbenchError(f"module '{name}' cannot be imported: {error}") from error
