"""Atomic writes: a file is either complete or missing."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kdbench.errors import ResultsError

REMEDY = "; run `kdbench reindex --deep`, then run the matrix again"


def write_atomic(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file in the same folder, sync it, and rename it to `path`.

    Raises:
        ResultsError: the folder cannot be written to.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with writable(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(temporary)
            with temporary.open("rb") as handle:
                os.fsync(handle.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes atomically.

    Raises:
        ResultsError: the folder cannot be written to.
    """

    def write(temporary: Path) -> None:
        temporary.write_bytes(content)

    write_atomic(path, write)


def write_json(path: Path, data: object) -> None:
    """Write JSON atomically.

    Raises:
        ResultsError: the folder cannot be written to.
    """
    text = json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_bytes(path, text.encode())


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ResultsError: the file cannot be read, or is corrupted.
        FileNotFoundError: the file is missing.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ResultsError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise corrupted(path, error) from None
    if not isinstance(data, dict):
        raise corrupted(path, f"must be a JSON object, got {type(data).__name__}")
    return data


def corrupted(path: Path, reason: object) -> ResultsError:
    """Return the error for a file that cannot be parsed."""
    return ResultsError(f"{path}: corrupted ({reason}){REMEDY}")


def without_remedy(error: ResultsError) -> str:
    """Return the text of an error of `corrupted` without its remedy, for callers with a better one."""
    return str(error).removesuffix(REMEDY)


@contextmanager
def writable(folder: Path) -> Iterator[None]:
    """Raise a ResultsError for any OSError in the block.

    Raises:
        ResultsError: the folder cannot be written to.
    """
    try:
        yield
    except OSError as error:
        raise ResultsError(
            f"{folder}: cannot be written ({error.strerror or error}); choose another results folder with --results, "
            "or free space or permissions there and rerun the command; finished runs are kept"
        ) from error
