"""`kdbench logs`: what a run has told, and what its worker prints now."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from kdbench.errors import printable
from kdbench.results import Store

SECONDS = 0.5
LONGEST = 10_000  # characters of a line
ATTEMPT = re.compile(r"attempt \d+: (?P<log>.+) from byte (?P<byte>\d+)$", re.MULTILINE)


def print_log(beginning: str, follow: bool, results: Path, console: Console) -> None:
    """Print a run's log; while it runs also its worker's, with `follow` until it has ended.

    Raises:
        ResultsError: there is no such run, or several begin so.
    """
    store = Store(results, create=False)
    run = store.find_run(beginning)
    for text in _told(store, run, follow):
        console.out(_shown(text), end="", highlight=False)


def _told(store: Store, run: str, follow: bool) -> Iterator[str]:
    log = store.folder(run) / "log.txt"
    text, told = _read(log, 0)
    yield text or f"{run}: nothing has been logged yet\n"
    attempts = list(ATTEMPT.finditer(text))
    if not attempts or store.state(run) != "running":
        return
    worker, byte = _worker_log(store, attempts[-1]["log"]), int(attempts[-1]["byte"])
    while True:
        ended = store.state(run) != "running"  # before the last look, so that nothing is missed
        text, byte = _read(worker, byte)
        yield text
        if ended:
            yield _read(log, told)[0]  # how it went; while it trains, that is in its worker's log
        if ended or not follow:
            return
        time.sleep(SECONDS)


def _worker_log(store: Store, name: str) -> Path:
    path = Path(name)
    return path if path.exists() else store.root / "workers" / path.name


def _shown(text: str) -> str:
    """What a terminal would obey is shown by its code; the ends of lines stay."""
    return "\n".join(printable(line.rstrip("\r").expandtabs(), LONGEST) for line in text.split("\n"))


def _read(path: Path, byte: int) -> tuple[str, int]:
    """What stands in a file from a byte on, and where it ends."""
    try:
        with path.open("rb") as handle:
            handle.seek(byte)
            content = handle.read()
    except FileNotFoundError:
        return "", byte
    return content.decode("utf-8", errors="replace"), byte + len(content)
