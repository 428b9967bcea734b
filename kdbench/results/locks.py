"""Check whether a lock file is locked, without taking the lock."""

import fcntl
import os
from pathlib import Path

LOCK = "lock"  # the lock file in a run's folder


def is_locked(path: Path) -> bool:
    """Return whether a process has locked the file."""
    try:
        inode = path.stat().st_ino
    except OSError:  # nothing is there
        return False
    listed = _locked_inodes()
    return (listed is None or inode in listed) and _has_exclusive_lock(path)


def _locked_inodes() -> set[int] | None:
    """Return the inodes of all locked files as Linux lists them, or None on other systems.

    The list also has the device, but on layered file systems it differs from that of `stat`.
    """
    try:
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    columns = [fields[-3] for fields in map(str.split, lines) if len(fields) >= 8]  # major:minor:inode
    return {int(column.rpartition(":")[2]) for column in columns}


def _has_exclusive_lock(path: Path) -> bool:
    """Return whether a process has an exclusive lock on a file: then a shared lock is refused."""
    try:
        descriptor = os.open(
            path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
        )  # without waiting for the writer of a FIFO
    except OSError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)  # which unlocks it
    return False
