"""Errors of the environment, for which no run is responsible: a full disk, a quota, a limit, a failing file system."""

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from kdbench.errors import KdbenchError, StorageError, causes, printable

T = TypeVar("T")

FREE_SPACE = "free space or permissions there"
CHECK_DISK = "check the disk or the file server"
REMEDIES = {
    errno.ENOSPC: "free space there",
    errno.EDQUOT: "free space or raise the quota there",
    errno.EFBIG: "raise the limit of file sizes with `ulimit -f unlimited`",
    errno.EROFS: "make the file system writable",
    errno.EMFILE: "raise the limit of open files with `ulimit -n 4096`",
    errno.ENFILE: "close other programs",
    **dict.fromkeys((errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EHOSTDOWN), CHECK_DISK),
}
CONTENT = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENXIO, errno.ENAMETOOLONG)  # what is there
NOT_REPEATED = (errno.EACCES, errno.EPERM)
READ_DELAYS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2)  # seconds before a read that failed is repeated


def repeat_read(path: Path, read: Callable[[], T]) -> T:
    """Return what `read` returns; if the file system fails, repeat it a few times.

    Raises:
        StorageError: the file system fails every time.
        OSError: the path is missing, or what is there is of another kind.
    """
    for delay in (*READ_DELAYS, None):
        try:
            return read()
        except OSError as error:
            if error.errno in CONTENT:
                raise
            if delay is None or error.errno in NOT_REPEATED:
                raise unreadable(path, error) from error
        time.sleep(delay)
    raise AssertionError("the last attempt returns or raises")


def unreadable(path: Path, error: OSError) -> StorageError:
    """Return the error for a file that cannot be read although it is there."""
    remedy = REMEDIES.get(error.errno or 0, "make it readable")
    return StorageError(
        f"{printable(str(path))}: cannot be read ({error.strerror or error}); nothing was changed; {remedy} and rerun "
        "the command; finished runs are kept"
    )


def unwritable(path: str | Path, error: OSError) -> StorageError:
    """Return the error for a file or folder of the results that cannot be written."""
    remedy = REMEDIES.get(error.errno or 0, FREE_SPACE)
    return StorageError(
        f"{printable(str(path))}: cannot be written ({error.strerror or error}); choose another results folder with "
        f"--results, or {remedy} and rerun the command; finished runs are kept"
    )


def as_storage_error(error: BaseException) -> StorageError | None:
    """Return the error of the environment among an exception and its causes, or None.

    Libraries that are not written in Python raise types of their own; their text then contains that of the system.
    """
    return next(filter(None, map(_as_storage_error, causes(error))), None)


def _as_storage_error(error: BaseException) -> StorageError | None:
    if isinstance(error, StorageError):
        return error
    if isinstance(error, OSError) and error.errno is not None:
        number, text = error.errno, str(error.strerror)
    else:
        text = " ".join(str(error).split())
        number = next((number for number in REMEDIES if os.strerror(number) in text), 0)
    if number not in REMEDIES:
        return None
    path = getattr(error, "filename", None) or "a file"
    return StorageError(
        f"{printable(str(path))}: cannot be read or written ({printable(text, 200)}); {REMEDIES[number]} and rerun the "
        "command; finished runs are kept"
    )


@contextmanager
def storage_errors() -> Iterator[None]:
    """Raise a StorageError for any other exception in the block that the environment is responsible for.

    Raises:
        StorageError: no space, a quota, a limit, or an I/O error.
    """
    try:
        yield
    except KdbenchError:
        raise
    except Exception as error:
        found = as_storage_error(error)
        if found is None:
            raise
        raise found from error
