"""Atomic writes: a file is either complete or missing. Bounded reads: hostile content is refused with its reason."""

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kdbench.errors import ResultsError, printable
from kdbench.results.regular_files import read_regular
from kdbench.results.storage_errors import unwritable

REMEDY = "; run `kdbench reindex --deep`, then run the matrix again"
MAX_JSON_BYTES = 2**24
MAX_JSON_DEPTH = 200  # two levels per run in a chain of runs that need each other
MAX_DIGITS = 300  # of an integer: it can be converted to float
CHECKSUM = "sha256"  # the last key of a checked file
_END = b'"\n}\n'  # what follows the checksum
_DIGITS = 64  # of the checksum


def write_atomic(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file in the same folder, sync it, and rename it to `path`.

    Raises:
        StorageError: the folder cannot be written to.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with writable(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(temporary)
            with temporary.open("rb") as handle:
                os.fsync(handle.fileno())
            _move_directory(path)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def _move_directory(path: Path) -> None:
    """Rename a directory in the place of a file, which no file can replace."""
    if path.is_dir() and not path.is_symlink():
        names = (path.with_name(f"{path.name}.replaced-{number}") for number in count(1))
        path.rename(next(name for name in names if not os.path.lexists(name)))


def write_bytes(path: Path, content: bytes) -> None:
    """Write bytes atomically.

    Raises:
        StorageError: the folder cannot be written to.
    """

    def write(temporary: Path) -> None:
        temporary.write_bytes(content)

    write_atomic(path, write)


def write_json(path: Path, data: object) -> None:
    """Write JSON atomically.

    Raises:
        StorageError: the folder cannot be written to.
    """
    write_bytes(path, _to_text(data).encode())


def read_json(path: Path, max_bytes: int = MAX_JSON_BYTES) -> dict[str, Any]:
    """Read a JSON object as `write_json` writes it: all numbers are finite, and all text can be encoded.

    Raises:
        ResultsError: something else is in its place, or it is corrupted.
        StorageError: it cannot be read.
        FileNotFoundError: the file is missing.
    """
    return _read_json(path, max_bytes)[1]


def write_checked_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write JSON atomically, with the SHA-256 of the file up to there as the value of its last key.

    Raises:
        StorageError: the folder cannot be written to.
    """
    before = _to_text({**data, CHECKSUM: ""}).encode().removesuffix(_END)
    write_bytes(path, before + _sha256(before) + _END)


def read_checked_json(path: Path, max_bytes: int = MAX_JSON_BYTES) -> dict[str, Any]:
    """Read a JSON object as `write_checked_json` writes it, without its checksum.

    Raises:
        ResultsError: something else is in its place, it is corrupted, or it does not match its checksum.
        StorageError: it cannot be read.
        FileNotFoundError: the file is missing.
    """
    content, data = _read_json(path, max_bytes)
    if CHECKSUM not in data:
        raise corrupted(path, "has no checksum")
    before = content[: -_DIGITS - len(_END)]
    if list(data)[-1] != CHECKSUM or content != before + _sha256(before) + _END:
        raise corrupted(path, "does not match its checksum")
    return {key: value for key, value in data.items() if key != CHECKSUM}


def _read_json(path: Path, max_bytes: int) -> tuple[bytes, dict[str, Any]]:
    """Return the bytes of a file, and the JSON object that they are."""
    try:
        content = read_regular(path, max_bytes)
        data = _parse(content.decode())
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ResultsError(f"{printable(str(path))}: cannot be read ({error.strerror})") from None
    except RecursionError:
        raise corrupted(path, _too_deep()) from None
    except ValueError as error:
        raise corrupted(path, error) from None
    if not isinstance(data, dict):
        raise corrupted(path, f"must be a JSON object, got {type(data).__name__}")
    return content, data


def _to_text(data: object) -> str:
    return json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()


def _parse(text: str) -> Any:
    data = json.loads(text, parse_float=_finite, parse_int=_bounded, parse_constant=_refuse)
    if text.count("[") + text.count("{") > MAX_JSON_DEPTH and _depth(data) > MAX_JSON_DEPTH:
        raise _too_deep()
    if "\\u" in text:
        json.dumps(data, ensure_ascii=False).encode()  # half of a surrogate pair is no text
    return data


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        _refuse(text)
    return number


def _bounded(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"an integer has {len(text)} digits, at most {MAX_DIGITS} are allowed")
    return int(text)


def _refuse(text: str) -> Any:
    raise ValueError(f"numbers must be finite, got {text}")


def _depth(data: Any) -> int:
    level, depth = [data], 0
    while level:
        children = (child for one in level for child in (one.values() if isinstance(one, dict) else one))
        level, depth = [child for child in children if isinstance(child, dict | list)], depth + 1
    return depth


def _too_deep() -> ValueError:
    return ValueError(f"is nested deeper than {MAX_JSON_DEPTH} levels")


def corrupted(path: Path, reason: object) -> ResultsError:
    """Return the error for a file that cannot be parsed, in one line."""
    if isinstance(reason, ValidationError):
        first = reason.errors(include_url=False)[0]
        reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return ResultsError(f"{printable(str(path))}: corrupted ({printable(' '.join(str(reason).split()))}){REMEDY}")


def without_remedy(error: ResultsError) -> str:
    """Return the text of an error of `corrupted` without its remedy, for callers with a better one."""
    return str(error).removesuffix(REMEDY)


@contextmanager
def writable(folder: Path) -> Iterator[None]:
    """Raise a StorageError for any OSError in the block.

    Raises:
        StorageError: the folder cannot be written to.
    """
    try:
        yield
    except OSError as error:
        raise unwritable(error.filename if isinstance(error, IsADirectoryError) else folder, error) from error
