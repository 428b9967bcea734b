"""The attempts to train a run: `attempt.json` in its folder. torch is not imported here."""

import os
import platform
from pathlib import Path
from typing import Any

from kdbench.errors import ResultsError
from kdbench.results.files import read_json, write_json
from kdbench.results.provenance import now

NAME = "attempt.json"
MAX_ATTEMPTS = 10**6  # a higher number is corrupted


def begin(folder: Path) -> int:
    """Record an attempt; return the number of attempts. One that was given away continues, and counts once."""
    continues = _read(folder).get("is_given_away") is True
    attempts = max(1, count(folder) + (not continues))
    write_json(folder / NAME, {"count": attempts, "host": platform.node(), "pid": os.getpid(), "started": now()})
    return attempts


def count(folder: Path) -> int:
    """Return the number of attempts; 0 if the file is missing or corrupted."""
    found = _read(folder).get("count", 0)
    is_count = isinstance(found, int) and not isinstance(found, bool) and 0 <= found <= MAX_ATTEMPTS
    return found if is_count else 0


def give_away(folder: Path) -> None:
    """Record that another worker continues the attempt."""
    write_json(folder / NAME, {**_read(folder), "is_given_away": True})


def _read(folder: Path) -> dict[str, Any]:
    try:
        return read_json(folder / NAME)
    except (FileNotFoundError, ResultsError):
        return {}
