"""`kdbench logs`: the log of a run, and what its worker prints now."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from kdbench.errors import printable
from kdbench.results import Store

INTERVAL = 0.5  # seconds
MAX_LINE = 10_000  # characters of a line
ATTEMPT = re.compile(r"attempt \d+: (?P<log>.+) from byte (?P<byte>\d+)$", re.MULTILINE)


def print_log(prefix: str, follow: bool, results: Path, console: Console) -> None:
    """Print the log of a run; while it is running, also its worker's log. `follow`: until the run has finished.

    Raises:
        ResultsError: no run id starts with `prefix`, or several do.
    """
    store = Store(results, create=False)
    run = store.find_run(prefix)
    for text in _texts(store, run, follow):
        console.out(_printable_text(text), end="", highlight=False)
        if console.quiet:
            return


def _texts(store: Store, run: str, follow: bool) -> Iterator[str]:
    log = store.folder(run) / "log.txt"
    text, log_end = _read(log, 0)
    yield text or f"{run}: the log is empty\n"
    attempts = list(ATTEMPT.finditer(text))
    if not attempts or store.state(run) != "running":
        return
    worker_log, position = _worker_log(store, attempts[-1]["log"]), int(attempts[-1]["byte"])
    while True:
        has_ended = store.state(run) != "running"  # before the last read, so that no line is missed
        text, position = _read(worker_log, position)
        yield text
        if has_ended:
            yield _read(log, log_end)[0]  # the outcome; while the run trains, it is in the worker's log
        if has_ended or not follow:
            return
        time.sleep(INTERVAL)


def _worker_log(store: Store, name: str) -> Path:
    path = Path(name)
    return path if path.exists() else store.root / "workers" / path.name


def _printable_text(text: str) -> str:
    """Replace control characters by their codes; line ends stay."""
    return "\n".join(printable(line.rstrip("\r").expandtabs(), MAX_LINE) for line in text.split("\n"))


def _read(path: Path, position: int) -> tuple[str, int]:
    """Return the text of a file from a byte position on, and the position of its end."""
    try:
        with path.open("rb") as handle:
            handle.seek(position)
            content = handle.read()
    except FileNotFoundError:
        return "", position
    return content.decode("utf-8", errors="replace"), position + len(content)
