"""`kdbench plan`: what would run."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kdbench.cli.console import print_line
from kdbench.formatting import count_of, list_seeds
from kdbench.matrix import Cell, MatrixSpec, Sweep, load
from kdbench.plan import Plan, make_plan
from kdbench.plan.choice import choose_finished
from kdbench.plan.resolution import describe_resolution
from kdbench.results import Store

Key = tuple[str, str, str]  # data set, pair, row
STATES = ("done", "failed", "running", "pending")
COLUMNS = ("configurations", "search_runs", "runs", *STATES, "incompatible")


def print_plan(matrix: Path, results: Path, as_json: bool, console: Console) -> None:
    """Print the plan of a matrix as a table, or as JSON; download nothing.

    Raises:
        MatrixError: the matrix has an error.
    """
    store = Store.existing(results)
    plan = choose_finished(make_plan(load(matrix), provisional=True), store)
    states = _states(plan, store)
    if as_json:
        console.print_json(data=_as_json(plan, states))
        return
    console.print(_table(plan, states))
    print_line(console, _summarize(plan, states))
    for style, line in _notes(plan):
        print_line(console, line, style)


def _states(plan: Plan, store: Store | None) -> dict[str, str]:
    """Return the state of every run; one whose configuration is not chosen yet has the id of a stand-in."""
    known = {run.id: store.state(run.id) if store else "pending" for run in plan.runs}
    return {run.id: known.get(run.id, "pending") for run in plan.choose_first().runs}


def _notes(plan: Plan) -> Iterator[tuple[str, str]]:
    """Give the style and the text of each line below the table."""
    for reason in plan.provisional.values():
        yield "yellow", f"provisional: {reason}; the ids of its runs will change"
    if plan.undecided:
        seeds = plan.matrix.protocol.search_seeds
        named = list_seeds("search seed", seeds)
        yield "", f"{count_of(len(plan.undecided), 'configuration')} to be chosen by the runs of {named}"
    for line in dict.fromkeys(f"{' / '.join(_key(one.cell))}: {one.reason}" for one in plan.incompatible):
        yield "yellow", f"incompatible: {line}"
    for excluded in _excluded(plan):
        yield "dim", f"excluded: {excluded}"
    for source in _custom_code(plan):
        yield "yellow", f"runs custom code: {source}"
    for line in describe_resolution(plan):
        yield "", line
    for warning in plan.warnings:
        yield "yellow", f"warning: {warning}"


def _key(cell: Cell) -> Key:
    row = "student from scratch" if cell.kind == "scratch" else cell.label
    return cell.dataset.name, f"{cell.pair.teacher} -> {cell.pair.student}", row


def _table(plan: Plan, states: Mapping[str, str]) -> Table:
    counts = _counts(plan, states)
    optional = ("search_runs", *STATES, "incompatible")
    shown = [name for name in COLUMNS if name not in optional or any(row[name] for row in counts.values())]
    grid = Table(box=SIMPLE_HEAD, title=Text(f"matrix {plan.matrix.name}"), title_justify="left")
    grid.add_column("data set: pair / method", overflow="fold")
    for name in shown:
        grid.add_column(name.replace("_", " "), justify="right")
    group = None
    for (dataset, pair, label), row in counts.items():
        if group != (group := (dataset, pair)):
            grid.add_section()
            grid.add_row(Text(f"{dataset}: {pair}", style="bold"))
        grid.add_row(Text(f"  {label}"), *(str(row[name] or "·") for name in shown))
    return grid


def _counts(plan: Plan, states: Mapping[str, str]) -> dict[Key, Counter[str]]:
    """Count configurations and runs by row, pair by pair in the order of the matrix."""
    rows: dict[Key, Counter[str]] = {}
    incompatible = {one.cell: None for one in plan.incompatible}
    for cell in sorted([*plan.choose_first().cells, *incompatible], key=partial(_rank, plan.matrix)):
        counts = rows.setdefault(_key(cell), Counter())
        if cell in incompatible:
            counts["incompatible"] += len(cell.runs)
        else:
            counts["search_runs" if cell.phase == "search" else "runs"] += len(cell.runs)
            counts.update(states[run.id] for run in cell.runs.values())
    configurations = Counter(_key(cell) for cell in [*_configurations(plan), *incompatible])
    return {key: Counter({"configurations": configurations[key]}) + counts for key, counts in rows.items()}


def _configurations(plan: Plan) -> Iterator[Cell]:
    """Yield a cell for each compatible configuration, whatever its phases."""
    seen = set()
    for item in plan.items:
        if isinstance(item, Sweep):
            yield from item.search
        elif item.kind != "teacher" or _key(item) not in seen:
            seen.add(_key(item))
            yield item


def _rank(matrix: MatrixSpec, cell: Cell) -> tuple[int, int, int]:
    labels = ["teacher", *matrix.methods]
    rank = 0 if cell.kind == "scratch" else labels.index(cell.label.removeprefix("teacher of "))
    return matrix.datasets.index(cell.dataset.name), matrix.pairs.index(cell.pair), rank


def _summarize(plan: Plan, states: Mapping[str, str]) -> str:
    count = Counter(states.values())
    cells = plan.choose_first().cells
    teachers = _ids(cell for cell in cells if cell.kind == "teacher")
    searched = _ids(cell for cell in cells if cell.phase == "search") - teachers
    distilled = _ids(cell for cell in cells if cell.kind == "method") - searched
    others = len(states) - len(teachers | searched | distilled)
    by_state = ", ".join(f"{count[state]} {state}" for state in STATES if count[state])
    search = f"{len(searched)} in the search, " if plan.sweeps else ""
    return (
        f"{count_of(len(states), 'run')}{by_state and f' ({by_state})'}: {count_of(len(teachers), 'teacher')}, "
        f"{search}{len(distilled)} distilled, {others} from scratch or needed by others; "
        f"{sum(len(one.cell.runs) for one in plan.incompatible)} incompatible"
    )


def _ids(cells: Iterable[Cell]) -> set[str]:
    return {run.id for cell in cells for run in cell.runs.values()}


def _excluded(plan: Plan) -> list[str]:
    lines = []
    for e in plan.excluded:
        seeds = "" if set(e.seeds) >= set(plan.matrix.seeds) else f" (seeds {', '.join(map(str, e.seeds))})"
        why = f": {e.why}" if e.why else ""
        lines.append(f"{e.dataset} / {e.pair.teacher} -> {e.pair.student} / {e.label}{seeds}{why}")
    return lines


def _custom_code(plan: Plan) -> list[str]:
    """Return the modules outside kdbench that the matrix names: running it executes them."""
    parts = {part.name for run in plan.runs for part in run.parts if part.source}
    networks = {str(n.factory) for run in plan.runs for n in (run.student, *run.peers) if n.factory}
    return sorted(parts | networks)


def _as_json(plan: Plan, states: Mapping[str, str]) -> dict[str, Any]:
    cells = [
        {"dataset": dataset, "pair": pair, "method": label, **counts}
        for (dataset, pair, label), counts in _counts(plan, states).items()
    ]
    return {
        "matrix": plan.matrix.name,
        "runs": [{"id": run.id, "state": states[run.id], **_run_as_json(run.to_json())} for run in plan.runs],
        "cells": cells,
        "to_choose": [_sweep_as_json(sweep) for sweep in plan.undecided],
        "incompatible": [
            {"cell": list(_key(i.cell)), "runs": len(i.cell.runs), "reason": i.reason} for i in plan.incompatible
        ],
        "excluded": _excluded(plan),
        "provisional": list(plan.provisional),
        "custom_code": _custom_code(plan),
        "resolution": list(describe_resolution(plan)),
        "warnings": list(plan.warnings),
    }


def _sweep_as_json(sweep: Sweep) -> dict[str, Any]:
    dataset, pair, label = _key(sweep.search[0])
    runs = len(sweep.report.runs)
    return {"dataset": dataset, "pair": pair, "method": label, "configurations": len(sweep.search), "runs": runs}


def _run_as_json(spec: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "cell": spec["cell"],
        "dataset": spec["dataset"]["name"],
        "student": spec["student"]["name"],
        "method": " + ".join(part["name"] for part in spec["parts"]),
        "parameters": {part["name"]: part["hyperparameters"] for part in spec["parts"]},
        "seed": spec["seed"],
        "needs": {role: need["id"] for role, need in spec["needs"].items()},
    }
