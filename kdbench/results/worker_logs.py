"""Copy the output of worker processes to the logs of their runs."""

from collections.abc import Iterable
from pathlib import Path

from kdbench.results.store import Store

MAX_BYTES = 2**18  # of one job, copied to a run's log


def size(log: Path) -> int:
    """Return the size of a worker's log in bytes."""
    return log.stat().st_size if log.exists() else 0


def log_start(store: Store, runs: Iterable[str], log: Path, since: int) -> None:
    """Write into the logs of runs where the output of their worker begins.

    Raises:
        StorageError: a log cannot be written to.
    """
    for run in runs:
        store.log(run, f"attempt {store.attempts(run)}: {log.resolve()} from byte {since}")


def log_output(store: Store, runs: Iterable[str], log: Path, since: int) -> None:
    """Copy the output of a finished job, from byte `since` on, into the logs of its runs.

    Raises:
        StorageError: a log cannot be written to.
    """
    text = read_output(log, since).strip()
    for run in runs if text else ():
        store.log(run, f"output of its worker:\n{text}")


def read_output(log: Path, since: int = 0) -> str:
    """Return the output from byte `since` on; of more than `MAX_BYTES`, the end."""
    end = size(log)
    start = max(since, end - MAX_BYTES)
    if not end:
        return ""
    with log.open("rb") as handle:
        handle.seek(start)
        text = handle.read(MAX_BYTES).decode("utf-8", errors="replace")
    return text if start == since else f"({start - since} earlier bytes are in {log})\n{text}"


def tail(log: Path, lines: int = 5) -> str:
    """Return the last lines of a log, joined by " | "."""
    return " | ".join(read_output(log).strip().splitlines()[-lines:]) or "(empty)"
