"""`kdbench status` and `kdbench show`: what the results folder holds. Reads locks without taking them."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from kdbench.errors import printable_lines
from kdbench.results import MatrixIndex, State, Store
from kdbench.results.integrity import corrupted_indexes, corrupted_timings

STATES: tuple[State, ...] = ("done", "failed", "running", "pending")
REFRESH = 2.0  # seconds
SHOWN = 10  # runs that are named


def print_status(results: Path, as_json: bool, console: Console) -> None:
    """Print, for every matrix, how many of its runs are in which state, and what is corrupted.

    Raises:
        ResultsError: there is no such results folder.
    """
    store = Store(results, create=False)
    if as_json:
        console.print_json(data=_facts(store))
    else:
        console.print(_view(store), soft_wrap=True)


def watch_status(results: Path, console: Console) -> None:
    """Show the status anew every two seconds, until Ctrl-C.

    Raises:
        ResultsError: there is no such results folder.
    """
    store = Store(results, create=False)
    with suppress(KeyboardInterrupt), Live(_view(store), console=console, auto_refresh=False) as live:
        while True:
            time.sleep(REFRESH)
            live.update(_view(store), refresh=True)


def _facts(store: Store) -> dict[str, dict[str, Any]]:
    """Every matrix; one whose file is corrupted has nothing but the error."""
    broken = {name: {"error": why} for name, why in corrupted_indexes(store).items()}
    return {index.name: _of_matrix(store, index) for index in store.indexes()} | broken


def _of_matrix(store: Store, index: MatrixIndex) -> dict[str, Any]:
    states = {run: store.state(run) for run in index.run_ids}
    count = Counter(states.values())
    begun = {run: n for run, state in states.items() if state == "pending" and (n := store.attempts(run))}
    return {
        "runs": len(states),
        **{state: count[state] for state in STATES},
        "incompatible": sum(cell.runs for cell in index.incompatible),
        "attempts": begun,
        "corrupted": {run: why for run in states if (why := store.corruption(run)) is not None},
    }


def _view(store: Store) -> RenderableType:
    facts = _facts(store)
    if not facts:
        return Text(f"{store.root}: no matrix was run here yet")
    grid = Table(box=SIMPLE_HEAD)
    grid.add_column("matrix")
    columns = ("runs", *STATES, "incompatible")
    for column in columns:
        grid.add_column(column, justify="right")
    for name, found in facts.items():
        grid.add_row(Text(name), *(str(found.get(column, "?")) for column in columns))
    return Group(grid, *_notes(store, facts))


def _notes(store: Store, facts: dict[str, dict[str, Any]]) -> Iterator[Text]:
    attempts = {run: n for found in facts.values() for run, n in found.get("attempts", {}).items()}
    for run, count in list(attempts.items())[:SHOWN]:
        times = "once" if count == 1 else f"{count} times"
        yield Text(f"waiting: {run}, begun {times}, goes on at epoch {store.next_epoch(run) + 1}")
    if len(attempts) > SHOWN:
        yield Text(f"waiting: {len(attempts) - SHOWN} more that were begun before")
    corrupted = {run: why for found in facts.values() for run, why in found.get("corrupted", {}).items()}
    for run, why in corrupted.items():
        yield Text(f"corrupted: {run}: {why}; `kdbench run` trains it again", style="red")
    for text in [*(found["error"] for found in facts.values() if "error" in found), *corrupted_timings(store)]:
        yield Text(text, style="red")


def print_run(beginning: str, results: Path, console: Console) -> None:
    """Print what a run is, how it went and where it lies.

    Raises:
        ResultsError: there is no such run, or several begin so.
    """
    store = Store(results, create=False)
    run = store.find_run(beginning)
    spec, result = store.spec(run), store.result(run) or {}
    grid = Table.grid(padding=(0, 2))
    for key, value in [
        ("run", run),
        ("state", store.state(run)),
        *_trouble(store, run),
        ("data set", spec.dataset.name),
        ("student", spec.student.name),
        ("method", spec.method),
        *((f"  {key}", value) for key, value in spec.hyperparameters.items()),
        ("seed", spec.seed),
        *((role, f"{need.student.name} (run {need.id})") for role, need in spec.needs),
        ("folder", store.folder(run)),
        *_recipe(spec.to_json()["recipe"]),
        *_outcome(result),
        *_deployed(result),
    ]:
        grid.add_row(Text(str(key), style="dim"), Text(_shown(value), overflow="fold"))
    console.print(grid)


def _trouble(store: Store, run: str) -> Iterator[tuple[str, object]]:
    why, attempts = store.corruption(run), store.attempts(run)
    if why is not None:
        yield "corrupted", f"{why}; `kdbench run` trains it again"
    if attempts and not store.is_finished(run):
        yield "attempts", attempts
        yield "next_epoch", store.next_epoch(run) + 1


def _recipe(recipe: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in recipe.items():
        if value not in (None, [], ()):
            yield f"recipe.{key}", json.dumps(value)


def _outcome(result: dict[str, Any]) -> Iterator[tuple[str, object]]:
    for key, value in {"error": result.get("error"), **result.get("row", {})}.items():
        if value is not None:
            yield key, value


def _deployed(result: dict[str, Any]) -> Iterator[tuple[str, object]]:
    for name, scores in result.get("deployed", {}).items():
        for key, value in scores.items():
            yield f"{name}: {key}", value


def _shown(value: object) -> str:
    return f"{value:.5g}" if isinstance(value, float) else printable_lines(str(value))
