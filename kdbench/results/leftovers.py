"""Files left in a results folder by crashed processes."""

import platform
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import final

from kdbench.results import checkpoints
from kdbench.results.files import writable
from kdbench.results.locks import LOCK, is_locked
from kdbench.results.processes import is_alive
from kdbench.results.sessions import unused_sessions
from kdbench.results.store import Store

MIN_AGE = 60.0  # seconds; a process on another machine may still write a file that has no lock
PID = re.compile(r"\.(\d+)(\.tmp)?$")
LOG = re.compile(r"(?P<host>.+)-(?P<pid>\d+)-\d+\.log")


@final
@dataclass(frozen=True)
class Leftover:
    """A file, or the folder of an unfinished copy."""

    path: Path
    kind: str
    bytes: int
    run: str | None = None  # its lock protects the file


def find(store: Store) -> Iterator[Leftover]:
    """Yield all leftovers; files of running processes are skipped."""
    for folder in sorted(store.runs.glob("*/")):
        if not is_locked(folder / LOCK):
            yield from _find_in_run(store, folder)
    for folder in (store.root, store.matrices, store.timings, store.sessions):
        for path in sorted([*folder.glob(".*.tmp"), *folder.glob(".probe.*")]):
            if _is_abandoned(path):
                yield Leftover(path, "probe" if path.name.startswith(".probe.") else "partial file", _size(path))
    for path in unused_sessions(store.sessions):
        yield Leftover(path, "state of a command that was killed before it trained", _size(path))
    for path in sorted((store.root / "workers").glob("*.log")):
        match = LOG.fullmatch(path.name)
        if match and match["host"] == platform.node() and not is_alive(int(match["pid"])):
            yield Leftover(path, "log of an ended worker", _size(path))


def remove(store: Store, leftover: Leftover) -> bool:
    """Remove a leftover unless a process uses it by now; return whether it was removed.

    Raises:
        StorageError: the folder cannot be written to.
    """
    if leftover.run is None:
        _delete(leftover.path)
        return True
    with store.claimed(leftover.run) as is_claimed:
        if is_claimed:
            _delete(leftover.path)
        return is_claimed


def _find_in_run(store: Store, folder: Path) -> Iterator[Leftover]:
    for path in sorted(folder.glob(".*.tmp")):
        yield Leftover(path, "partial file", _size(path), folder.name)
    if store.is_finished(folder.name):
        for path in (folder / name for name in checkpoints.NAMES):
            if path.exists():
                yield Leftover(path, "checkpoint of a finished run", _size(path), folder.name)


def _is_abandoned(path: Path) -> bool:
    match = PID.search(path.name)
    if match is None or is_alive(int(match[1])):
        return False
    try:
        return time.time() - path.stat().st_mtime > MIN_AGE
    except FileNotFoundError:
        return False


def _size(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    with suppress(FileNotFoundError):
        files = path.rglob("*") if path.is_dir() else [path]
        return sum(file.stat().st_size for file in files if file.is_file())
    return 0


def _delete(path: Path) -> None:
    with writable(path.parent), suppress(FileNotFoundError):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
