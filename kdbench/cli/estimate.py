"""`kdbench plan --estimate`: hours and disk space of a matrix on this machine."""

from dataclasses import asdict
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kdbench.cli.console import print_line
from kdbench.estimate import NOT_COUNTED, Estimate, KindEstimate, run_estimate
from kdbench.formatting import count_of, format_bytes, format_duration


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
        print_line(console, line)


def _table(estimate: Estimate) -> Table:
    grid = Table(box=SIMPLE_HEAD)
    grid.add_column("kind of run", overflow="fold")
    for title in ("cohorts", "runs", "steps", "epochs", "s/epoch", "time"):
        grid.add_column(title, justify="right")
    for kind in estimate.kinds:
        counts = (kind.cohorts, kind.runs, kind.steps, kind.epochs)
        grid.add_row(Text(kind.kind), *map(str, counts), *_times(kind))
    return grid


def _times(kind: KindEstimate) -> tuple[str, str]:
    if kind.epoch_seconds is None or kind.hours is None:
        return "out of memory", ""
    return f"{kind.epoch_seconds:.2g}", format_duration(3600 * kind.hours)


def _summary(estimate: Estimate) -> list[str]:
    workers = f"{count_of(estimate.slots, 'worker')} ({estimate.device})"
    missing = sum(kind.hours is None for kind in estimate.kinds)
    return [
        f"time: about {format_duration(3600 * estimate.wall_hours)} on {workers}, "
        f"{format_duration(3600 * estimate.busy_hours)} on one worker",
        f"disk: {format_bytes(estimate.results_bytes)} of weights, {format_bytes(estimate.checkpoint_bytes)} of "
        f"checkpoints while runs train, at most {format_bytes(estimate.teacher_cache_bytes)} of cached teacher outputs",
        *([f"warning: out of memory, not counted: {count_of(missing, 'kind')} of run"] if missing else []),
        NOT_COUNTED,
    ]
