"""Files in a folder that is bounded in bytes: what was not used for longest makes room for what is new."""

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import final

from filelock import FileLock

PATIENCE = 10.0  # seconds that a file may wait to be written while other processes write theirs


@final
class LRUCache:
    """At most `limit` bytes in all, for several processes at once.

    Each file begins with the SHA-256 of its name and its content, so that one that is corrupted, half written or in the
    place of another is known.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self.limit = limit

    def read(self, name: str) -> bytes | None:
        """What is kept under a name, or None; a corrupted file is removed."""
        path = self.folder / name
        try:
            whole = path.read_bytes()
        except OSError:
            return None
        size = hashlib.sha256().digest_size
        content = whole[size:]
        if whole[:size] != _sum(name, content):
            with suppress(OSError):
                path.unlink()
            return None
        with suppress(OSError):
            os.utime(path)
        return content

    def write(self, name: str, content: bytes) -> None:
        """Keep `content` under a name, whole or not at all, if it fits and nothing is there yet.

        Raises:
            OSError: the folder cannot be written to, or other processes write to it for too long.
        """
        path, whole = self.folder / name, _sum(name, content) + content
        if len(whole) > self.limit:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / ".lock", timeout=PATIENCE):
            if not path.exists():
                self._make_room(len(whole))
                _put(path, whole)

    def _make_room(self, size: int) -> None:
        files = sorted(self._files())
        excess = sum(held for _, held, _ in files) + size - self.limit
        for _, held, path in files:
            if excess <= 0:
                return
            path.unlink(missing_ok=True)
            with suppress(OSError):  # others are left in its folder
                path.parent.rmdir()
            excess -= held

    def _files(self) -> list[tuple[int, int, Path]]:
        """When each file was used last, its size and path."""
        found = []
        for path in self.folder.glob("*/*"):
            with suppress(FileNotFoundError):
                stat = path.stat()
                found.append((stat.st_mtime_ns, stat.st_size, path))
        return found


def _sum(name: str, content: bytes) -> bytes:
    found = hashlib.sha256(name.encode() + b"\n")
    found.update(content)
    return found.digest()


def _put(path: Path, whole: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(whole)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
