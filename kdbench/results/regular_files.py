"""Read regular files only: opening a FIFO waits for a writer, and a device has no end."""

import errno
import os
import stat
from collections.abc import Callable
from io import BufferedReader
from pathlib import Path
from typing import TypeVar

from kdbench.formatting import format_bytes
from kdbench.results.storage_errors import repeat_read

T = TypeVar("T")

KINDS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def irregularity(path: Path) -> str | None:
    """Return what is in the place of a regular file, such as "a FIFO"; None if it is one, or nothing is there.

    Raises:
        StorageError: the file system fails.
    """
    try:
        return kind_of(repeat_read(path, path.stat).st_mode)
    except OSError:
        return "a dangling link" if path.is_symlink() else None


def exists(path: Path) -> bool:
    """Return whether something is at a path. `Path.exists` returns False if the file system fails, from Python 3.13 on.

    Raises:
        StorageError: the file system fails.
    """
    try:
        repeat_read(path, path.stat)
    except (OSError, ValueError):
        return False
    return True


def open_regular(path: Path) -> BufferedReader:
    """Open a regular file for reading, without waiting.

    Raises:
        ValueError: something else is in its place.
        OSError: it is missing.
        StorageError: it cannot be opened.
    """
    return repeat_read(path, lambda: _open(path))


def read_file(path: Path, read: Callable[[BufferedReader], T]) -> T:
    """Return what `read` returns for a regular file; if the file system fails, repeat it from the beginning.

    Raises:
        ValueError: something else is in its place.
        OSError: it is missing.
        StorageError: it cannot be read.
    """

    def open_and_read() -> T:
        with _open(path) as handle:
            return read(handle)

    return repeat_read(path, open_and_read)


def _open(path: Path) -> BufferedReader:
    _check(path.stat().st_mode)  # before it is opened, which can have an effect on a device
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    handle = os.fdopen(descriptor, "rb")
    try:
        _check(os.fstat(descriptor).st_mode)
    except ValueError:
        handle.close()
        raise
    return handle


def read_regular(path: Path, max_bytes: int) -> bytes:
    """Return the content of a regular file.

    Raises:
        ValueError: it has more bytes, or something else is in its place.
        OSError: it is missing.
        StorageError: it cannot be read.
    """

    def read(handle: BufferedReader) -> tuple[int, bytes]:
        size = os.fstat(handle.fileno()).st_size
        return size, b"" if size > max_bytes else handle.read(size + 1)

    size, content = read_file(path, read)
    if max(size, len(content)) > max_bytes:
        raise ValueError(f"has {format_bytes(max(size, len(content)))}, at most {format_bytes(max_bytes)} are read")
    return content


def append(path: Path, content: bytes) -> None:
    """Append to a regular file, which is created if it is missing.

    Raises:
        OSError: something else is in its place, or it cannot be written to.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o666), "ab") as handle:
        kind = kind_of(os.fstat(handle.fileno()).st_mode)
        if kind is not None:
            raise OSError(errno.EINVAL, f"{path.name} is {kind}, not a regular file")
        handle.write(content)


def kind_of(mode: int) -> str | None:
    """Return what a file with this mode is, such as "a FIFO"; None for a regular file."""
    return None if stat.S_ISREG(mode) else KINDS.get(stat.S_IFMT(mode), "a special file")


def _check(mode: int) -> None:
    kind = kind_of(mode)
    if kind is not None:
        raise ValueError(f"is {kind}, not a regular file")
