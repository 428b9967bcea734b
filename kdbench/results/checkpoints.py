"""Checkpoint files: a line of JSON that says what follows, so that a corrupted one is known. The one before is kept.

Needs no torch: what a file holds is bytes here.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import final

from kdbench.results.files import writable, write_bytes

FORMAT = 1
NAMES = ("checkpoint.pt", "checkpoint.previous.pt")  # newest first


@final
@dataclass(frozen=True)
class Header:
    """The first line of a checkpoint."""

    epoch: int  # the next one to train
    bytes: int
    sha256: str
    made_with: Mapping[str, str | int]
    format: int = FORMAT


def write(folder: Path, epoch: int, content: bytes, made_with: Mapping[str, str | int]) -> None:
    """Make `content` the newest checkpoint of a run's folder, whole or not at all.

    Raises:
        ResultsError: the folder cannot be written to.
    """
    head = Header(epoch, len(content), hashlib.sha256(content).hexdigest(), dict(made_with))
    keep(folder, json.dumps(asdict(head)).encode() + b"\n" + content)


def keep(folder: Path, whole: bytes) -> None:
    """Make a whole checkpoint file, head and all, the newest of a run's folder.

    Raises:
        ResultsError: the folder cannot be written to.
    """
    newest, previous = (folder / name for name in NAMES)
    if _head(newest) is not None:  # a cut one must not take the place of a whole one
        with writable(folder):
            newest.replace(previous)
    write_bytes(newest, whole)


def next_epoch(folder: Path) -> int:
    """The epoch at which the run of a folder would go on, by the heads of its checkpoints; 0 without any."""
    return next((head.epoch for path in _paths(folder) if (head := _head(path)) is not None), 0)


def read(folder: Path) -> Iterator[tuple[Path, Header | None, bytes]]:
    """The checkpoints of a folder, the newest first: file, head and content; no head where it is corrupted."""
    for path in _paths(folder):
        head = _head(path)
        try:
            content = path.read_bytes().split(b"\n", 1)[1] if head is not None else b""
        except OSError:  # a disk that cannot read it again
            head, content = None, b""
        whole = head is not None and hashlib.sha256(content).hexdigest() == head.sha256
        yield (path, head, content) if whole else (path, None, b"")


def remove(folder: Path) -> None:
    """Take away the checkpoints of a run that has ended."""
    with writable(folder):
        for path in _paths(folder):
            path.unlink()


def _paths(folder: Path) -> list[Path]:
    return [path for name in NAMES if (path := folder / name).exists()]


def _head(path: Path) -> Header | None:
    """A file's head, if it is one and the file has the size that it tells."""
    try:
        with path.open("rb") as handle:
            line = handle.readline(4096)
        head = Header(**json.loads(line))
        whole = path.stat().st_size == len(line) + head.bytes
    except (OSError, ValueError, TypeError):
        return None
    return head if whole and head.format == FORMAT and isinstance(head.epoch, int) else None
