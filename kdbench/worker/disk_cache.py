"""A least-recently-used file cache in one folder, bounded in bytes and safe for several processes."""

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import final

from filelock import FileLock

LOCK_TIMEOUT = 10.0  # seconds to wait for other processes that write


@final
class LRUCache:
    """Files in a folder, at most `limit` bytes in total; the least recently used ones are evicted.

    Each file starts with the SHA-256 of its name and content, so a corrupted, truncated or misplaced file is a miss.

    Args:
        folder: where the files are; created by the first write.
        limit: the total size of all files, in bytes.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self.limit = limit

    def read(self, name: str) -> bytes | None:
        """Return the content cached under a name, or None; a corrupted file is deleted."""
        path = self.folder / name
        try:
            data = path.read_bytes()
        except OSError:
            return None
        size = hashlib.sha256().digest_size
        checksum, content = data[:size], data[size:]
        if checksum != _checksum(name, content):
            with suppress(OSError):
                path.unlink()
            return None
        with suppress(OSError):
            os.utime(path)
        return content

    def write(self, name: str, content: bytes) -> None:
        """Cache `content` under a name (FOLDER/FILE), unless it exceeds the limit or the name is taken.

        Raises:
            OSError: the folder is not writable, or other processes hold its lock for more than 10 s.
        """
        path, data = self.folder / name, _checksum(name, content) + content
        if len(data) > self.limit:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / ".lock", timeout=LOCK_TIMEOUT):
            if not path.exists():
                self._evict(len(data))
                _write_atomically(path, data)

    def _evict(self, needed: int) -> None:
        """Delete the least recently used files until `needed` bytes fit."""
        files = sorted(self._files())
        excess = sum(size for _, size, _ in files) + needed - self.limit
        for _, size, path in files:
            if excess <= 0:
                return
            path.unlink(missing_ok=True)
            with suppress(OSError):  # not empty
                path.parent.rmdir()
            excess -= size

    def _files(self) -> list[tuple[int, int, Path]]:
        """Return the time of last use (ns), size (bytes) and path of every file."""
        files = []
        for path in self.folder.glob("*/*"):
            with suppress(FileNotFoundError):
                stat = path.stat()
                files.append((stat.st_mtime_ns, stat.st_size, path))
        return files


def _checksum(name: str, content: bytes) -> bytes:
    checksum = hashlib.sha256(name.encode() + b"\n")
    checksum.update(content)
    return checksum.digest()


def _write_atomically(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
