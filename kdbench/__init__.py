"""kdbench: one TOML file in, one honest table out.

From Python: `run(matrix)`, `tune(method)`, `report()`, `load_matrix(path).runs()`, `load_results(folder)`,
`load_predictions(run)`; `models.build` and `methods.create`; and the contract of a method: `Batch`, `DefaultBy`,
`Frozen`, `Method`, `Network`, `Offline`, `OptimizerSpec`, `Output`, `Step`, `Task`, `Tune`, `When`. Each name is
imported when it is used: `import kdbench` imports neither torch nor pandas.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "Batch",
    "DefaultBy",
    "Frozen",
    "KdbenchError",
    "Matrix",
    "Method",
    "Network",
    "Offline",
    "OptimizerSpec",
    "Output",
    "Step",
    "Task",
    "Tune",
    "When",
    "__version__",
    "data",
    "load_matrix",
    "load_predictions",
    "load_results",
    "methods",
    "models",
    "report",
    "run",
    "tune",
]

_MODULES = ("data", "methods", "models", "testing")
_DEFINED_IN = {
    "Batch": "kdbench.training.method",
    "DefaultBy": "kdbench.hyperparameters",
    "Frozen": "kdbench.training.network",
    "KdbenchError": "kdbench.errors",
    "Matrix": "kdbench.api",
    "Method": "kdbench.training.method",
    "Network": "kdbench.training.network",
    "Offline": "kdbench.methods.offline",
    "OptimizerSpec": "kdbench.training.method",
    "Output": "kdbench.training.network",
    "Step": "kdbench.training.method",
    "Task": "kdbench.training.method",
    "Tune": "kdbench.hyperparameters",
    "When": "kdbench.hyperparameters",
    "load_matrix": "kdbench.api",
    "load_predictions": "kdbench.api",
    "load_results": "kdbench.api",
    "report": "kdbench.api",
    "run": "kdbench.api",
    "tune": "kdbench.api",
}

if TYPE_CHECKING:
    from kdbench import data, methods, models
    from kdbench.api import Matrix, load_matrix, load_predictions, load_results, report, run, tune
    from kdbench.errors import KdbenchError
    from kdbench.hyperparameters import DefaultBy, Tune, When
    from kdbench.methods.offline import Offline
    from kdbench.training.method import Batch, Method, OptimizerSpec, Step, Task
    from kdbench.training.network import Frozen, Network, Output


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"kdbench.{name}")
    if name in _DEFINED_IN:
        return getattr(importlib.import_module(_DEFINED_IN[name]), name)
    raise AttributeError(f"module 'kdbench' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
