"""`kdbench show`: one run."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kdbench.errors import printable_lines
from kdbench.results import Store

Line = tuple[str, object]

NO_LABEL = "none (needed by other runs)"


def print_run(prefix: str, results: Path, as_json: bool, console: Console) -> None:
    """Print the configuration, state, metrics and folder of a run.

    Raises:
        ResultsError: no run id starts with `prefix`, or several do.
    """
    store = Store(results, create=False)
    run = store.find_run(prefix)
    if as_json:
        console.print_json(data=_as_json(store, run))
        return
    grid = Table.grid(padding=(0, 2))
    for key, value in _lines(store, run):
        grid.add_row(Text(key, style="dim"), Text(_as_text(value), overflow="fold"))
    console.print(grid)


def _as_json(store: Store, run: str) -> dict[str, Any]:
    return {
        "run": run,
        "matrices": _labels(store, run),
        "state": store.state(run),
        "corruption": store.corruption(run),
        "attempts": store.attempts(run),
        "next_epoch": None if store.is_finished(run) else store.next_epoch(run) + 1,
        "folder": str(store.folder(run)),
        "spec": store.spec(run).to_json(),
        "result": store.result(run),
    }


def _labels(store: Store, run: str) -> dict[str, list[str]]:
    """Return the labels of a run in each matrix that contains it."""
    return {index.name: list(index.labels(run)) for index in store.indexes() if run in index.run_ids}


def _lines(store: Store, run: str) -> Iterator[Line]:
    spec, result = store.spec(run), store.result(run) or {}
    matrices = _labels(store, run)
    yield "run", run
    yield "label", ", ".join(dict.fromkeys(label for labels in matrices.values() for label in labels)) or NO_LABEL
    yield "matrix", ", ".join(matrices) or "none"
    yield "state", store.state(run)
    yield from _problems(store, run)
    yield "data set", spec.dataset.name
    yield "student", spec.student.name
    yield "method", spec.method
    yield from ((f"  {key}", value) for key, value in spec.hyperparameters.items())
    yield "seed", spec.seed
    yield from ((role, f"{need.student.name} (run {need.id})") for role, need in spec.needs)
    yield "folder", store.folder(run)
    yield from _recipe(spec.to_json()["recipe"])
    yield from _outcome(result)


def _problems(store: Store, run: str) -> Iterator[Line]:
    reason, attempts = store.corruption(run), store.attempts(run)
    if reason is not None:
        yield "corrupted", f"{reason}; `kdbench run` trains it again"
    if attempts and not store.is_finished(run):
        yield "attempts", attempts
        yield "next_epoch", store.next_epoch(run) + 1


def _recipe(recipe: dict[str, Any]) -> Iterator[Line]:
    for key, value in recipe.items():
        if value not in (None, [], ()):
            yield f"recipe.{key}", json.dumps(value)


def _outcome(result: dict[str, Any]) -> Iterator[Line]:
    for key, value in {"error": result.get("error"), **result.get("row", {})}.items():
        if value is not None:
            yield key, value
    for network, metrics in result.get("deployed", {}).items():
        for key, value in metrics.items():
            yield f"{network}: {key}", value


def _as_text(value: object) -> str:
    return f"{value:.5g}" if isinstance(value, float) else printable_lines(str(value))
