"""`kdbench run`: train a matrix."""

from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from rich.console import Console

from kdbench.cli.console import command, print_line
from kdbench.errors import MatrixError, printable
from kdbench.events import EventHandler
from kdbench.executor import Ray, start_workers
from kdbench.formatting import count_of
from kdbench.matrix import MatrixSpec, load
from kdbench.progress import Progress
from kdbench.results import MatrixIndex, Store
from kdbench.results.sessions import Session
from kdbench.resume import finished_index
from kdbench.sessions import SessionRecorder

if TYPE_CHECKING:
    import pandas as pd

    from kdbench.plan import Plan

Trained = tuple[MatrixIndex, "pd.DataFrame", Session]  # the frame has the runs of the whole results folder


def run_matrix(
    file: Path,
    results: Path,
    reports: Path,
    console: Console,
    *,
    quiet: bool = False,
    on_ray: bool = False,
    address: str | None = None,
) -> int:
    """Train the missing runs of a matrix, write its report, and print its accuracy table.

    Everything is on disk before the table is printed. Workers run on this machine, or `on_ray` in the Ray cluster at
    `address`; without an address, in a new Ray cluster on this machine. `quiet` prints no table and no path.

    Returns:
        The number of runs that failed or are blocked by a failed run.

    Raises:
        KdbenchError: the matrix cannot be run.
    """
    from kdbench.reporting import write_report
    from kdbench.reporting.formats.terminal import print_table
    from kdbench.reporting.sessions import describe_sessions, done_rows

    matrix, store = load(file), Store(results)
    index, frame, session = finished_index(matrix, store), None, None
    if index is None:
        index, frame, session = _train(matrix, store, console, Ray(address) if on_ray else None)
    else:
        print_line(console, f"{count_of(len(index.run_ids), 'run')} of {index.name} finished before; nothing to train")
    (report,) = write_report(results, reports, [index.name], frame=frame)
    if not quiet:
        print_table(report.accuracy, console)
        print_line(console, f"report: {report.paths[0]}")
    num_failed = _print_failures(index, store, console)
    if session is not None and session.has_trained:
        print_line(console, describe_sessions([session], done_rows(store, index.run_ids), index.run_ids))
    return num_failed


def _train(matrix: MatrixSpec, store: Store, console: Console, cluster: Ray | None) -> Trained:
    print_line(console, f"planning {matrix.file}")
    with ExitStack() as stack:
        recorder = stack.enter_context(SessionRecorder(store, matrix.name))
        executor = cluster or stack.enter_context(start_workers(matrix.run, store))
        from kdbench.plan import make_plan  # the workers import torch at the same time
        from kdbench.runner import train

        plan = make_plan(matrix)
        _print_plan(plan, console)
        progress = stack.enter_context(Progress(store, console, recorder.activity))

        def show_progress(part: "Plan") -> EventHandler:
            progress.show(part)
            return recorder.observe(part, progress.on_event)

        Thread(target=_import_libraries).start()
        trained, rows = train(plan, store, show_progress, executor)
    from kdbench.results.table import to_frame

    return trained.index(), to_frame(rows), recorder.session()


def _import_libraries() -> None:
    """Import the libraries of tables and report while the workers train: it takes as long as writing both."""
    for name in ("pandas", "scipy.special", "kdbench.results.table"):
        import_module(name)


def _print_plan(plan: "Plan", console: Console) -> None:
    """Print the number of incompatible cells, and the warnings.

    Raises:
        MatrixError: there is nothing to train.
    """
    file = plan.matrix.file
    plan_command = command("plan", file)
    if not plan.runs:
        raise MatrixError(f"{file}: all cells are incompatible or excluded; `{plan_command}` gives the reasons")
    if plan.incompatible:
        count = count_of(len(plan.incompatible), "incompatible cell")
        print_line(console, f"{count}; `{plan_command}` gives the reasons", style="yellow")
    for warning in plan.warnings:
        print_line(console, f"warning: {warning}", style="yellow")


def _print_failures(index: MatrixIndex, store: Store, console: Console) -> int:
    failed = [run for run in index.run_ids if store.state(run) == "failed"]
    blocked = [run for run in index.run_ids if store.state(run) == "pending"]
    for run in failed:
        reason = str((store.result(run) or {}).get("error") or "no message").splitlines()[0]
        print_line(console, f"failed: {index.describe_run(run)}: {printable(reason)}", style="red")
    if blocked:
        blocked_runs = f"{count_of(len(blocked), 'run')} {'is' if len(blocked) == 1 else 'are'}"
        print_line(console, f"{blocked_runs} blocked by a failed run", style="red")
    if failed:
        commands = command("retry", index.name, results=store.root), command("run", index.file, results=store.root)
        print_line(console, f"to train them again: {' && '.join(commands)}")
    return len(failed) + len(blocked)
