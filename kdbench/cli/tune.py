"""`kdbench tune`."""

import json
import re
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from kdbench.events import EventHandler
from kdbench.matrix import load
from kdbench.matrix.shipped import shipped
from kdbench.plan import Plan
from kdbench.progress import Progress
from kdbench.results import Store
from kdbench.tuning import Tuned, tune


def tune_method(method: str, matrix: Path | None, trials: int, results: Path, console: Console) -> None:
    """Search a method's hyperparameters and print the best configuration as a piece of a matrix.

    Raises:
        KdbenchError: whatever keeps the search from being made.
    """
    base = load(matrix or shipped("quickstart"))
    store = Store(results)
    pair = base.pairs[0]
    console.print(
        Text(
            f"tuning {method} on {base.datasets[0]}, {pair.teacher} -> {pair.student}, {trials} trials x "
            f"{len(base.seeds)} seeds, validation only"
        ),
        soft_wrap=True,
    )
    with ExitStack() as shown:

        def listen(plan: Plan) -> EventHandler:
            shown.pop_all().close()
            return shown.enter_context(Progress(plan, store, console)).on_event

        found = tune(method, base, trials, store, listen)
    _print(found, method, results, console)


def _print(found: Tuned, method: str, results: Path, console: Console) -> None:
    default = "no score" if found.default_score is None else f"{found.default_score:.4f}"
    for line in (
        f"best of {found.trials} trials ({found.failed} failed): validation accuracy {found.score:.4f}; "
        f"the defaults {_words(found.default)}: {default}",
        "for a matrix:",
        "",
        f"[methods.{_quoted(method)}]",
        *(f"{_toml_key(key)} = {value!r}" for key, value in found.best.items()),
        "",
        f"every trial: kdbench report {found.matrix} --results {results}",
    ):
        console.print(Text(line), soft_wrap=True)


def _toml_key(key: str) -> str:
    part, _, own = key.rpartition(".")
    return f"{_quoted(part)}.{own}" if part else own


def _quoted(name: str) -> str:
    return name if re.fullmatch("[A-Za-z0-9_-]+", name) else json.dumps(name)


def _words(configuration: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value:g}" for key, value in configuration.items())
