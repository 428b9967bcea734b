"""`kdbench plan`: what would run."""

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kdbench.cli.console import count_of, print_line
from kdbench.matrix import Cell, MatrixSpec, load
from kdbench.plan import Plan, make_plan
from kdbench.results import Store

Key = tuple[str, str, str]  # data set, pair, label
STATES = ("done", "failed", "running", "pending")


def print_plan(matrix: Path, results: Path, as_json: bool, console: Console) -> None:
    """Print the plan of a matrix as a table, or as JSON; download nothing.

    Raises:
        MatrixError: the matrix has an error.
    """
    plan = make_plan(load(matrix), provisional=True)
    store = Store.existing(results)
    states = {run.id: store.state(run.id) if store else "pending" for run in plan.runs}
    if as_json:
        console.print_json(data=_as_json(plan, states))
        return
    console.print(_table(plan, states))
    print_line(console, _summarize(plan, states))
    for style, line in _notes(plan):
        print_line(console, line, style)


def _notes(plan: Plan) -> Iterator[tuple[str, str]]:
    """Give the style and the text of each line below the table."""
    for reason in plan.provisional.values():
        yield "yellow", f"provisional: {reason}; the ids of its runs will change"
    for incompatible in plan.incompatible:
        yield "yellow", f"incompatible: {' / '.join(_key(incompatible.cell))}: {incompatible.reason}"
    for excluded in _excluded(plan):
        yield "dim", f"excluded: {excluded}"
    for source in _custom_code(plan):
        yield "yellow", f"runs custom code: {source}"
    for warning in plan.warnings:
        yield "yellow", f"warning: {warning}"


def _key(cell: Cell) -> Key:
    return cell.dataset.name, f"{cell.pair.teacher} -> {cell.pair.student}", cell.label


def _table(plan: Plan, states: Mapping[str, str]) -> Table:
    counts = _counts(plan, states)
    shown = [state for state in (*STATES, "incompatible") if any(row[state] for row in counts.values())]
    grid = Table(box=SIMPLE_HEAD, title=Text(f"matrix {plan.matrix.name}"), title_justify="left")
    grid.add_column("data set: pair / method", overflow="fold")
    for title in ("configurations", "runs", *shown):
        grid.add_column(title, justify="right")
    group = None
    for (dataset, pair, label), row in counts.items():
        if group != (group := (dataset, pair)):
            grid.add_section()
            grid.add_row(Text(f"{dataset}: {pair}", style="bold"))
        grid.add_row(Text(f"  {label}"), *(str(row[c] or "·") for c in ("configurations", "runs", *shown)))
    return grid


def _counts(plan: Plan, states: Mapping[str, str]) -> dict[Key, Counter[str]]:
    """Count configurations and runs by label, pair by pair in the order of the matrix."""
    rows: dict[Key, Counter[str]] = {}
    incompatible = {id(i.cell) for i in plan.incompatible}
    for cell in sorted([*plan.cells, *(i.cell for i in plan.incompatible)], key=partial(_rank, plan.matrix)):
        counts = rows.setdefault(_key(cell), Counter())
        counts["configurations"] += 1
        if id(cell) in incompatible:
            counts["incompatible"] += len(cell.runs)
            continue
        counts["runs"] += len(cell.runs)
        counts.update(states[run.id] for run in cell.runs.values())
    return rows


def _rank(matrix: MatrixSpec, cell: Cell) -> tuple[int, int, int]:
    labels = ["teacher", "scratch", *matrix.methods]
    label = cell.label if cell.kind != "teacher" else cell.label.removeprefix("teacher of ")
    return matrix.datasets.index(cell.dataset.name), matrix.pairs.index(cell.pair), labels.index(label)


def _summarize(plan: Plan, states: Mapping[str, str]) -> str:
    count = Counter(states.values())
    distilled = {run.id for cell in plan.cells if cell.kind == "method" for run in cell.runs.values()}
    teachers = {run.id for cell in plan.cells if cell.kind == "teacher" for run in cell.runs.values()}
    by_state = ", ".join(f"{count[state]} {state}" for state in STATES if count[state])
    incompatible = sum(len(i.cell.runs) for i in plan.incompatible)
    others = len(states) - len(teachers) - len(distilled)
    return (
        f"{count_of(len(states), 'run')}{by_state and f' ({by_state})'}: {count_of(len(teachers), 'teacher')}, "
        f"{len(distilled)} distilled, {others} from scratch or needed by others; {incompatible} incompatible"
    )


def _excluded(plan: Plan) -> list[str]:
    lines = []
    for e in plan.excluded:
        seeds = "" if len(e.seeds) == len(plan.matrix.seeds) else f" (seeds {', '.join(map(str, e.seeds))})"
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
        "incompatible": [
            {"cell": list(_key(i.cell)), "runs": len(i.cell.runs), "reason": i.reason} for i in plan.incompatible
        ],
        "excluded": _excluded(plan),
        "provisional": list(plan.provisional),
        "custom_code": _custom_code(plan),
        "warnings": list(plan.warnings),
    }


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
