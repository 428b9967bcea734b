"""What workers print, and how it comes into the logs of their runs."""

from collections.abc import Iterable
from pathlib import Path

from kdbench.results.store import Store

MOST = 2**18  # bytes of it that go into a run's log


def size(log: Path) -> int:
    """How much a worker has printed so far, in bytes."""
    return log.stat().st_size if log.exists() else 0


def tell_begun(store: Store, runs: Iterable[str], log: Path, since: int) -> None:
    """Say in the logs of runs where that which their worker prints will be found, also while it trains.

    Raises:
        ResultsError: a log cannot be written to.
    """
    for run in runs:
        store.log(run, f"attempt {store.attempts(run)}: {log.resolve()} from byte {since}")


def tell_printed(store: Store, runs: Iterable[str], log: Path, since: int) -> None:
    """Copy what was printed since that byte into the logs of runs, once their job is over.

    Raises:
        ResultsError: a log cannot be written to.
    """
    text = printed(log, since).strip()
    for run in runs if text else ():
        store.log(run, f"its worker printed:\n{text}")


def printed(log: Path, since: int = 0) -> str:
    """What was printed since that byte; of much, the end."""
    end = size(log)
    start = max(since, end - MOST)
    if not end:
        return ""
    with log.open("rb") as handle:
        handle.seek(start)
        text = handle.read(MOST).decode("utf-8", errors="replace")
    return text if start == since else f"({start - since} bytes before this are in {log})\n{text}"


def tail(log: Path, lines: int = 5) -> str:
    """The last lines of a log, in one."""
    return " | ".join(printed(log).strip().splitlines()[-lines:]) or "(empty)"
