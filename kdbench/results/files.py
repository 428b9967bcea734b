"""Files that are either whole or not there."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kdbench.errors import ResultsError

REMEDY = "; move it away and run the matrix again"


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, sync it, and rename it to `path`.

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
    """Write bytes, whole or not at all."""

    def write(temporary: Path) -> None:
        temporary.write_bytes(content)

    write_whole(path, write)


def write_json(path: Path, data: object) -> None:
    """Write JSON, whole or not at all."""
    text = json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_bytes(path, text.encode())


def read_json(path: Path) -> dict[str, Any]:
    """Read an object of JSON.

    Raises:
        ResultsError: the file cannot be read, or is corrupted.
        FileNotFoundError: there is none.
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
        raise corrupted(path, f"it must hold a JSON object, got {type(data).__name__}")
    return data


def corrupted(path: Path, why: object) -> ResultsError:
    """The error of a file that cannot be understood."""
    return ResultsError(f"{path}: corrupted ({why}){REMEDY}")


def without_remedy(error: ResultsError) -> str:
    """What is wrong with a corrupted file, for those who have a better remedy than to move it away."""
    return str(error).removesuffix(REMEDY)


@contextmanager
def writable(folder: Path) -> Iterator[None]:
    """Turn the system's refusals into one clear error."""
    try:
        yield
    except OSError as error:
        raise ResultsError(
            f"{folder}: cannot be written ({error.strerror or error}); choose another results folder with --results, "
            "or free it; nothing that was computed is lost"
        ) from error
