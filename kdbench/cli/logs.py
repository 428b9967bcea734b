"""`kdbench logs`: the log of a run, and what its worker prints now."""

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from kdbench.errors import printable
from kdbench.results import Store
from kdbench.results.files import corrupted
from kdbench.results.regular_files import open_regular

INTERVAL = 0.5  # seconds
MAX_LINE = 10_000  # characters of a line
MAX_BYTES = 2**22  # that are read at once
ATTEMPT = re.compile(r"attempt \d+: (?:.*/)?(?P<log>[^/\0]+\.log) from byte (?P<byte>\d{1,18})$", re.MULTILINE)


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
    worker_log, position = store.root / "workers" / attempts[-1]["log"], int(attempts[-1]["byte"])
    while True:
        has_ended = store.state(run) != "running"  # before the last read, so that no line is missed
        text, position = _read(worker_log, position)
        yield text
        if has_ended:
            yield _read(log, log_end)[0]  # the outcome; while the run trains, it is in the worker's log
        if has_ended or not follow:
            return
        time.sleep(INTERVAL)


def _printable_text(text: str) -> str:
    """Replace control characters by their codes; line ends stay."""
    return "\n".join(printable(line.rstrip("\r").expandtabs(), MAX_LINE) for line in text.split("\n"))


def _read(path: Path, position: int) -> tuple[str, int]:
    """Return the text of a file from a byte position on, of much text its end, and the position of the file's end.

    Raises:
        ResultsError: the file cannot be read.
    """
    try:
        with open_regular(path) as handle:
            start = max(position, handle.seek(0, os.SEEK_END) - MAX_BYTES)
            handle.seek(start)
            content = handle.read(MAX_BYTES)
    except FileNotFoundError:
        return "", position
    except (OSError, ValueError) as error:
        raise corrupted(path, error) from None
    skipped = f"({start - position} earlier bytes are in {path})\n" if start > position else ""
    return skipped + content.decode("utf-8", errors="replace"), start + len(content)
