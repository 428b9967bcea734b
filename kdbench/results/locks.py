"""Whether a lock file is held, found out without taking the lock."""

import fcntl
from pathlib import Path


def held(path: Path) -> bool:
    """Whether some process holds the file's lock now."""
    try:
        inode = path.stat().st_ino
    except (FileNotFoundError, NotADirectoryError):
        return False
    listed = _listed_inodes()
    return (listed is None or inode in listed) and _refuses_shared(path)


def _listed_inodes() -> set[int] | None:
    """The inodes of all held locks as Linux lists them, or None on other systems.

    The device stands there too, but on layered file systems it is not the one that `stat` gives.
    """
    try:
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    places = [fields[-3] for fields in map(str.split, lines) if len(fields) >= 8]
    return {int(place.rpartition(":")[2]) for place in places}


def _refuses_shared(path: Path) -> bool:
    """Whether a shared lock is refused, as it is while the exclusive one is held."""
    with path.open("rb") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        fcntl.flock(handle, fcntl.LOCK_UN)
        return False
