"""`kdbench plan`: what would run."""

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kdbench.matrix import Cell, MatrixSpec, load
from kdbench.plan import Plan, make_plan
from kdbench.results import Store

Key = tuple[str, str, str]  # data set, pair, label
STATES = ("done", "failed", "running", "pending", "incompatible")


def print_plan(matrix: Path, results: Path, as_json: bool, console: Console) -> None:
    """Print a matrix's plan as a table, or as JSON; downloads nothing.

    Raises:
        MatrixError: the matrix cannot be run as written.
    """
    plan = make_plan(load(matrix), provisional=True)
    store = Store(results) if (results / "kdbench.json").exists() else None
    states = {run.id: store.state(run.id) if store else "pending" for run in plan.runs}
    if as_json:
        console.print_json(data=_json(plan, states))
        return
    console.print(_table(plan, states))
    console.print(Text(_summary(plan, states)))
    for reason in plan.provisional.values():
        told = f"provisional: {reason}; the ids of its runs will change"
        console.print(Text(told, style="yellow"), soft_wrap=True)
    for incompatible in plan.incompatible:
        where = " / ".join(_key(incompatible.cell))
        console.print(Text(f"cannot run: {where}: {incompatible.reason}", style="yellow"), soft_wrap=True)
    for left_out in _left_out(plan):
        console.print(Text(f"left out: {left_out}", style="dim"), soft_wrap=True)
    for source in _sources(plan):
        console.print(Text(f"runs code of your own: {source}", style="yellow"), soft_wrap=True)
    for warning in plan.warnings:
        console.print(Text(f"warning: {warning}", style="yellow"), soft_wrap=True)


def _key(cell: Cell) -> Key:
    return cell.dataset.name, f"{cell.pair.teacher} -> {cell.pair.student}", cell.label


def _table(plan: Plan, states: dict[str, Any]) -> Table:
    counts = _counts(plan, states)
    shown = [state for state in STATES if any(row[state] for row in counts.values())]
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


def _counts(plan: Plan, states: dict[str, Any]) -> dict[Key, Counter[str]]:
    """What each label comes to on each pair, pair by pair in the matrix's order."""
    rows: dict[Key, Counter[str]] = {}
    incompatible = {id(i.cell) for i in plan.incompatible}
    for cell in sorted([*plan.cells, *(i.cell for i in plan.incompatible)], key=partial(_place, plan.matrix)):
        counts = rows.setdefault(_key(cell), Counter())
        counts["configurations"] += 1
        if id(cell) in incompatible:
            counts["incompatible"] += len(cell.runs)
            continue
        counts["runs"] += len(cell.runs)
        counts.update(states[run.id] for run in cell.runs.values())
    return rows


def _place(matrix: MatrixSpec, cell: Cell) -> tuple[int, int, int]:
    labels = ["teacher", "scratch", *matrix.methods]
    return matrix.datasets.index(cell.dataset.name), matrix.pairs.index(cell.pair), labels.index(cell.label)


def _summary(plan: Plan, states: dict[str, Any]) -> str:
    count = Counter(states.values())
    distilled = {run.id for cell in plan.cells if cell.kind == "method" for run in cell.runs.values()}
    teachers = {run.id for cell in plan.cells if cell.kind == "teacher" for run in cell.runs.values()}
    told = ", ".join(f"{count[state]} {state}" for state in ("done", "failed", "running", "pending") if count[state])
    blocked = sum(len(i.cell.runs) for i in plan.incompatible)
    others = len(states) - len(teachers) - len(distilled)
    return (
        f"{len(states)} different runs{told and f' ({told})'}; teachers: {len(teachers)}, distilled: {len(distilled)}, "
        f"other baselines and runs that others need: {others}, cannot run: {blocked}"
    )


def _left_out(plan: Plan) -> list[str]:
    """What the matrix excludes, and why."""
    told = []
    for e in plan.excluded:
        seeds = "" if len(e.seeds) == len(plan.matrix.seeds) else f" (seeds {', '.join(map(str, e.seeds))})"
        why = f": {e.why}" if e.why else ""
        told.append(f"{e.dataset} / {e.pair.teacher} -> {e.pair.student} / {e.label}{seeds}{why}")
    return told


def _sources(plan: Plan) -> list[str]:
    """The user's own modules that the matrix names: running it runs them."""
    parts = {part.name for run in plan.runs for part in run.parts if part.source}
    networks = {str(n.factory) for run in plan.runs for n in (run.student, *run.peers) if n.factory}
    return sorted(parts | networks)


def _json(plan: Plan, states: dict[str, Any]) -> dict[str, Any]:
    cells = [
        {"dataset": dataset, "pair": pair, "method": label, **counts}
        for (dataset, pair, label), counts in _counts(plan, states).items()
    ]
    return {
        "matrix": plan.matrix.name,
        "runs": [{"id": run.id, "state": states[run.id], **_run(run.to_json())} for run in plan.runs],
        "cells": cells,
        "incompatible": [
            {"cell": list(_key(i.cell)), "runs": len(i.cell.runs), "reason": i.reason} for i in plan.incompatible
        ],
        "excluded": _left_out(plan),
        "provisional": list(plan.provisional),
        "code": _sources(plan),
        "warnings": list(plan.warnings),
    }


def _run(spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "cell": spec["cell"],
        "dataset": spec["dataset"]["name"],
        "student": spec["student"]["name"],
        "method": " + ".join(part["name"] for part in spec["parts"]),
        "parameters": {part["name"]: part["hyperparameters"] for part in spec["parts"]},
        "seed": spec["seed"],
        "needs": {role: need["id"] for role, need in spec["needs"].items()},
    }
