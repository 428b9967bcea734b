"""`kdbench status` and `kdbench show`: what the results folder holds. Reads locks without taking them."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kdbench.results import MatrixIndex, State, Store

STATES: tuple[State, ...] = ("done", "failed", "running", "waiting")


def print_status(results: Path, as_json: bool, console: Console) -> None:
    """Print, for every matrix, how many of its runs are in which state.

    Raises:
        ResultsError: there is no such results folder.
    """
    store = Store(results, create=False)
    rows = {index.name: _counts(store, index) for index in store.indexes()}
    if as_json:
        console.print_json(data=rows)
        return
    if not rows:
        console.print(Text(f"{results}: no matrix was run here yet"))
        return
    grid = Table(box=SIMPLE_HEAD)
    grid.add_column("matrix")
    for state in ("runs", *STATES, "impossible"):
        grid.add_column(state, justify="right")
    for name, counts in rows.items():
        grid.add_row(Text(name), *(str(counts[state]) for state in ("runs", *STATES, "impossible")))
    console.print(grid)


def _counts(store: Store, index: MatrixIndex) -> dict[str, int]:
    states = Counter(store.state(run) for run in index.run_ids)
    impossible = sum(cell.runs for cell in index.impossible)
    return {"runs": len(index.run_ids), **{state: states[state] for state in STATES}, "impossible": impossible}


def print_run(beginning: str, results: Path, console: Console) -> None:
    """Print what a run is, how it went and where it lies.

    Raises:
        ResultsError: there is no such run, or several begin so.
    """
    store = Store(results, create=False)
    run = store.find(beginning)
    spec, result = store.spec(run), store.result(run) or {}
    grid = Table.grid(padding=(0, 2))
    for key, value in [
        ("run", run),
        ("state", store.state(run)),
        ("data set", spec.dataset.name),
        ("student", spec.student.name),
        ("method", spec.method),
        *((f"  {key}", value) for key, value in spec.hyperparameters.items()),
        ("seed", spec.seed),
        *((role, f"{need.student.name} (run {need.id})") for role, need in spec.needs),
        ("folder", store.folder(run)),
        *_recipe(spec.to_json()["recipe"]),
        *_outcome(result),
        *_graduates(result),
    ]:
        grid.add_row(Text(str(key), style="dim"), Text(_shown(value), overflow="fold"))
    console.print(grid)


def _recipe(recipe: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in recipe.items():
        if value not in (None, [], ()):
            yield f"recipe.{key}", json.dumps(value)


def _outcome(result: dict[str, Any]) -> Iterator[tuple[str, object]]:
    for key, value in {"error": result.get("error"), **result.get("row", {})}.items():
        if value is not None:
            yield key, value


def _graduates(result: dict[str, Any]) -> Iterator[tuple[str, object]]:
    for name, scores in result.get("graduates", {}).items():
        for key, value in scores.items():
            yield f"{name}: {key}", value


def _shown(value: object) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)
