"""Decoded data sets, kept as .npy files that are mapped into memory, with their fingerprint beside them."""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from filelock import FileLock

from kdbench.data.dataset import DataSet, fingerprint_of
from kdbench.errors import DataError

ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
FACTS = "dataset.json"


def location() -> Path:
    """$KDBENCH_CACHE, or kdbench's folder in the platform's folder for caches."""
    chosen = os.environ.get("KDBENCH_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA", "~/AppData/LocalExecutor")
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "kdbench"


def cached(key: str, build: Callable[[], DataSet]) -> DataSet:
    """The data set kept under `key`, built and kept first where it is not there or corrupted.

    Every value is checked against the fingerprint. Of several processes one builds and the others wait.

    Raises:
        DataError: the folder cannot be written to, or what `build` raises.
    """
    folder = location() / key
    found = _read(folder)
    if found is not None:
        return found
    with _writable(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{folder}.lock").acquire()
    with lock:
        return _read(folder) or _keep(folder, build())


def cached_fingerprint(key: str) -> str | None:
    """The fingerprint kept under `key`, or None; opens no image."""
    folder = location() / key
    found = _open(folder)
    return None if found is None else found.fingerprint


def _keep(folder: Path, data: DataSet) -> DataSet:
    """Write a data set whole or not at all, and read it back."""
    with _writable(folder.parent), tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-") as temporary:
        whole = Path(temporary) / "whole"
        whole.mkdir()
        for name in ARRAYS:
            np.save(whole / f"{name}.npy", getattr(data, name))
        facts = {"fingerprint": data.fingerprint, "num_classes": data.num_classes}
        (whole / FACTS).write_text(json.dumps(facts), encoding="utf-8")
        if folder.is_dir():
            shutil.rmtree(folder)
        whole.rename(folder)
    return _open(folder) or data


def _read(folder: Path) -> DataSet | None:
    """The data set in a folder, every value checked; None where there is none or it is corrupted."""
    data = _open(folder)
    if data is None or fingerprint_of(*(getattr(data, name) for name in ARRAYS)) != data.fingerprint:
        return None
    return data


def _open(folder: Path) -> DataSet | None:
    """The same, with only the files' heads and sizes checked."""
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ARRAYS}
        return DataSet(**arrays, **{name: facts[name] for name in ("num_classes", "fingerprint")})
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None


@contextmanager
def _writable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{folder}: the decoded data cannot be kept there ({error.strerror}); "
            "set KDBENCH_CACHE to a folder that can be written to"
        ) from error
