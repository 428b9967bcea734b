"""Checkpoint files: a header line of JSON with size and checksum, then the content. The previous checkpoint is kept.

The content is bytes here, so this module needs no torch.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, final

from annotated_types import Ge, Lt
from pydantic import TypeAdapter

from kdbench.results.files import writable, write_bytes
from kdbench.results.regular_files import exists, read_file

FORMAT = 2
MAX_HEADER = 4096  # bytes
NAMES = ("checkpoint.pt", "checkpoint.previous.pt")  # newest first


@final
@dataclass(frozen=True)
class Header:
    """The first line of a checkpoint file."""

    epoch: Annotated[int, Ge(0), Lt(2**31)]  # finished epochs
    bytes: Annotated[int, Ge(0), Lt(2**63)]
    sha256: str
    made_with: Mapping[str, str | int | bool]
    format: int = FORMAT


def write(folder: Path, epoch: int, content: bytes, made_with: Mapping[str, str | int]) -> None:
    """Write the newest checkpoint of a run atomically.

    Args:
        folder: the folder of the run.
        epoch: finished epochs.
        content: the state of the training.
        made_with: versions and options that the numbers depend on.

    Raises:
        StorageError: the folder cannot be written to.
    """
    header = Header(epoch, len(content), hashlib.sha256(content).hexdigest(), dict(made_with))
    write_file(folder, json.dumps(asdict(header)).encode() + b"\n" + content)


def write_file(folder: Path, file: bytes) -> None:
    """Write the newest checkpoint of a run from the bytes of a checkpoint file, header included.

    Raises:
        StorageError: the folder cannot be written to.
    """
    newest, previous = (folder / name for name in NAMES)
    if _read_header(newest) is not None:  # a corrupted checkpoint must not replace the previous one
        with writable(folder):
            newest.replace(previous)
    write_bytes(newest, file)


def next_epoch(folder: Path) -> int:
    """Return the finished epochs of the newest complete checkpoint, by its header; 0 without any."""
    return next((header.epoch for path in _paths(folder) if (header := _read_header(path)) is not None), 0)


def read(folder: Path) -> Iterator[tuple[Path, Header | None, bytes]]:
    """Yield file, header and content of the checkpoints, newest first; the header is None if the file is corrupted.

    Raises:
        StorageError: a file cannot be read.
    """
    for path in _paths(folder):
        header = _read_header(path)
        try:
            content = b"" if header is None else _read_content(path)
        except (OSError, ValueError):  # removed, or replaced by something else, after the header was read
            header, content = None, b""
        is_intact = header is not None and hashlib.sha256(content).hexdigest() == header.sha256
        yield (path, header, content) if is_intact else (path, None, b"")


def remove(folder: Path) -> None:
    """Remove the checkpoints of a run."""
    with writable(folder):
        for path in _paths(folder):
            path.unlink()


def _paths(folder: Path) -> list[Path]:
    return [path for name in NAMES if exists(path := folder / name)]


def _read_header(path: Path) -> Header | None:
    """Return a file's header; None if it has none or not the size that the header states."""
    try:
        line, size = read_file(path, lambda file: (file.readline(MAX_HEADER), os.fstat(file.fileno()).st_size))
        header = _adapter().validate_python(json.loads(line))
    except (OSError, ValueError, RecursionError):
        return None
    return header if size == len(line) + header.bytes and header.format == FORMAT else None


def _read_content(path: Path) -> bytes:
    return read_file(path, lambda file: (file.readline(MAX_HEADER), file.read())[1])


@cache
def _adapter() -> TypeAdapter[Header]:
    return TypeAdapter(Header)
