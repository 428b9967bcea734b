"""kdbench: one TOML file in, one honest table out.

From Python: `models.build`, `methods.create`, `load_matrix(path).runs()`, `load_results(folder)`, and the contract
`Batch`, `Method`, `Network`, `Offline`, `OptimizerSpec`, `Output`, `Step`, `Task`, `Tune`. All of it loads when it is
named: `import kdbench` imports neither torch nor pandas.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "Batch",
    "KdbenchError",
    "Method",
    "Network",
    "Offline",
    "OptimizerSpec",
    "Output",
    "Step",
    "Task",
    "Tune",
    "__version__",
    "load_matrix",
    "load_results",
    "methods",
    "models",
]

_PLACES = {
    "Batch": "kdbench.training.method",
    "KdbenchError": "kdbench.errors",
    "Method": "kdbench.training.method",
    "Network": "kdbench.training.network",
    "Offline": "kdbench.methods.offline",
    "OptimizerSpec": "kdbench.training.method",
    "Output": "kdbench.training.network",
    "Step": "kdbench.training.method",
    "Task": "kdbench.training.method",
    "Tune": "kdbench.hyperparameters",
    "load_matrix": "kdbench.api",
    "load_results": "kdbench.results.table",
}
_MODULES = ("data", "methods", "models")

if TYPE_CHECKING:
    from kdbench import methods, models
    from kdbench.api import load_matrix
    from kdbench.errors import KdbenchError
    from kdbench.hyperparameters import Tune
    from kdbench.methods.offline import Offline
    from kdbench.results.table import load_results
    from kdbench.training.method import Batch, Method, OptimizerSpec, Step, Task
    from kdbench.training.network import Network, Output


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"kdbench.{name}")
    if name in _PLACES:
        return getattr(importlib.import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'kdbench' has no attribute '{name}'")
