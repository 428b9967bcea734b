"""`kdbench plan --estimate`: hours and disk space of a matrix on this machine."""

from dataclasses import asdict
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kdbench.estimate import NOT_COUNTED, Estimate, KindEstimate, run_estimate

GIGABYTE = 1e9


def print_estimate(matrix: Path, results: Path, as_json: bool, console: Console) -> None:
    """Measure a few steps of each kind of pending run and print the estimate as a table, or as JSON.

    Raises:
        MatrixError: the matrix has an error.
        TrainingError: a step cannot be measured.
    """
    estimate = run_estimate(matrix, results)
    if as_json:
        console.print_json(data=asdict(estimate))
        return
    console.print(_table(estimate))
    for line in _summary(estimate):
        console.print(Text(line), soft_wrap=True)


def _table(estimate: Estimate) -> Table:
    grid = Table(box=SIMPLE_HEAD)
    grid.add_column("kind of run", overflow="fold")
    for title in ("cohorts", "runs", "steps", "epochs", "s/epoch", "hours"):
        grid.add_column(title, justify="right")
    for kind in estimate.kinds:
        counts = (kind.cohorts, kind.runs, kind.steps, kind.epochs)
        grid.add_row(Text(kind.kind), *map(str, counts), *_times(kind))
    return grid


def _times(kind: KindEstimate) -> tuple[str, str]:
    if kind.epoch_seconds is None or kind.hours is None:
        return "out of memory", "–"
    return _figure(kind.epoch_seconds), _figure(kind.hours)


def _summary(estimate: Estimate) -> list[str]:
    workers = f"{estimate.slots} workers ({estimate.device}, {estimate.threads} threads each)"
    missing = sum(kind.hours is None for kind in estimate.kinds)
    return [
        f"time: about {_figure(estimate.wall_hours)} h on {workers}; {_figure(estimate.busy_hours)} h on one",
        f"disk: about {_gigabytes(estimate.results_bytes)} of results, {_gigabytes(estimate.checkpoint_bytes)} of "
        f"checkpoints while runs train, at most {_gigabytes(estimate.teacher_cache_bytes)} of cached teacher outputs",
        *([f"warning: {missing} kinds of run do not fit into memory and are not counted"] if missing else []),
        NOT_COUNTED,
    ]


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"


def _gigabytes(count: int) -> str:
    return f"{count / GIGABYTE:.2g} GB"
