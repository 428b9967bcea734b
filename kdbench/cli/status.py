"""`kdbench status`: the state of every matrix. Reads locks without taking them."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from kdbench.errors import printable, printable_lines
from kdbench.formatting import count_of, format_duration
from kdbench.results import MatrixIndex, State, Store
from kdbench.results.integrity import corrupted_indexes, corrupted_timings
from kdbench.results.sessions import Session, corrupted_sessions, read_sessions
from kdbench.sessions.text import describe_idle, describe_worker

STATES: tuple[State, ...] = ("done", "failed", "running", "pending")
REFRESH = 2.0  # seconds
MAX_LISTED = 10  # restarted runs that are named


def print_status(results: Path, as_json: bool, console: Console) -> None:
    """Print the number of runs of each matrix by state, and the corrupted files.

    Raises:
        ResultsError: the results folder does not exist.
    """
    store = Store(results, create=False)
    if as_json:
        console.print_json(data=_matrices(store))
    else:
        console.print(_view(store), soft_wrap=True)


def watch_status(results: Path, console: Console) -> None:
    """Print the status, and refresh it every two seconds until Ctrl-C.

    Raises:
        ResultsError: the results folder does not exist.
    """
    store = Store(results, create=False)
    with suppress(KeyboardInterrupt), Live(_view(store), console=console, auto_refresh=False) as live:
        while not console.quiet:
            time.sleep(REFRESH)
            live.update(_view(store), refresh=True)


def _matrices(store: Store) -> dict[str, dict[str, Any]]:
    """Return the counts and the running commands of every matrix by its name; of a corrupted one, the error."""
    errors = {name: {"error": error} for name, error in corrupted_indexes(store).items()}
    matrices = {index.name: _counts(store, index) for index in store.indexes()} | errors
    running = _running_sessions(store)
    for name in (*matrices, *(session.matrix for session in running)):
        sessions = [_describe_session(session) for session in running if session.matrix == name]
        matrices.setdefault(name, {})["sessions"] = sessions
    return matrices


def _running_sessions(store: Store) -> list[Session]:
    return [session.as_of_now() for session in read_sessions(store.sessions) if session.is_running]


def _describe_session(session: Session) -> dict[str, Any]:
    names = ("host", "pid", "wall_seconds", "busy_seconds", "slots", "seconds_left")
    return {
        "started": session.started.isoformat(timespec="seconds"),
        **{name: getattr(session, name) for name in names},
        "workers": [asdict(worker) for worker in session.workers],
    }


def _counts(store: Store, index: MatrixIndex) -> dict[str, Any]:
    states = {run: store.state(run) for run in index.run_ids}
    count = Counter(states.values())
    started = {run: n for run, state in states.items() if state == "pending" and (n := store.attempts(run))}
    return {
        "runs": len(states),
        **{state: count[state] for state in STATES},
        "incompatible": sum(cell.runs for cell in index.incompatible),
        "undecided": index.undecided,
        "attempts": started,
        "corrupted": {run: reason for run in states if (reason := store.corruption(run)) is not None},
    }


def _view(store: Store) -> RenderableType:
    matrices = _matrices(store)
    if not matrices:
        return Text(f"{store.root}: no matrix has been run; start one with `kdbench run MATRIX`")
    grid = Table(box=SIMPLE_HEAD)
    grid.add_column("matrix")
    columns = ("runs", *STATES, "incompatible")
    for column in columns:
        grid.add_column(column, justify="right")
    for name, counts in matrices.items():
        if set(counts) != {"sessions"}:  # else it is planned for the first time
            grid.add_row(Text(name), *(str(counts.get(column, "?")) for column in columns))
    return Group(*([grid] if grid.rows else []), *_session_lines(store), *_notes(store, matrices))


def _session_lines(store: Store) -> Iterator[Text]:
    """Yield what each running command does, and each of its workers."""
    for session in _running_sessions(store):
        left = "" if session.seconds_left is None else f", about {format_duration(session.seconds_left)} left"
        state = "running" if session.slots else "planning"
        text = f"{session.matrix}: {state} for {format_duration(session.wall_seconds)}{left}; "
        yield Text(printable(f"{text}process {session.pid} on {session.host}"))
        for worker in session.workers:
            if worker.state != "idle":
                yield Text(printable(f"  worker {worker.worker}: {', '.join(filter(None, describe_worker(worker)))}"))
        if idle := describe_idle(session.workers):
            yield Text(f"  {idle}")


def _notes(store: Store, matrices: dict[str, dict[str, Any]]) -> Iterator[Text]:
    for name, counts in matrices.items():
        if undecided := counts.get("undecided"):
            count = count_of(undecided, "configuration")
            yield Text(f"{name}: {count} to be chosen by the search; their runs are not counted yet")
    attempts = {run: n for counts in matrices.values() for run, n in counts.get("attempts", {}).items()}
    for run, count in list(attempts.items())[:MAX_LISTED]:
        yield Text(f"pending: {_describe_run(store, run)}: {_describe_attempts(store, run, count)}")
    if len(attempts) > MAX_LISTED:
        yield Text(f"pending: {count_of(len(attempts) - MAX_LISTED, 'more run')}, started before")
    corrupted = {run: reason for counts in matrices.values() for run, reason in counts.get("corrupted", {}).items()}
    for run, reason in corrupted.items():
        yield Text(f"corrupted: {run}: {printable_lines(reason)}; `kdbench run` trains it again", style="red")
    errors = [counts["error"] for counts in matrices.values() if "error" in counts]
    for text in [*errors, *corrupted_timings(store), *corrupted_sessions(store.sessions)]:
        yield Text(printable_lines(text), style="red")


def _describe_run(store: Store, run: str) -> str:
    indexes = [index for index in store.indexes() if run in index.run_ids]
    index = next((index for index in indexes if index.labels(run)), indexes[0])
    return printable_lines(index.describe_run(run))


def _describe_attempts(store: Store, run: str, count: int) -> str:
    times = {1: "once", 2: "twice"}.get(count, f"{count} times")
    trained = store.next_epoch(run)
    return f"started {times}, {'resumes' if trained else 'restarts'} at epoch {trained + 1}"
