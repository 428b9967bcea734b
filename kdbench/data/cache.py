"""The cache of decoded data sets: memory-mapped .npy files, with the fingerprint beside them."""

import json
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from filelock import FileLock

from kdbench.data.dataset import Dataset, Images, compute_fingerprint
from kdbench.errors import DataError

ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
METADATA = "dataset.json"
METADATA_FIELDS = ("num_classes", "fingerprint", "test_duplicates")


def cache_folder() -> Path:
    """Return $KDBENCH_CACHE, or the folder `kdbench` in the user's cache folder."""
    chosen = os.environ.get("KDBENCH_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    base = "~/Library/Caches" if sys.platform == "darwin" else os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "kdbench"


def cached(key: str, build: Callable[[], Dataset]) -> Dataset:
    """Return the data set cached under `key`; call `build` and cache its result if it is missing or corrupted.

    Every value is checked against the fingerprint. If several processes call this at once, one builds and the others
    wait for it.

    Raises:
        DataError: the cache folder is not writable, or `build` fails.
    """
    folder = cache_folder() / key
    found = _read_checked(folder)
    if found is not None:
        return found
    with _explain_write_errors(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(f"{folder}.lock").acquire()
    with lock:
        return _read_checked(folder) or _write(folder, build())


def cached_fingerprint(key: str) -> str | None:
    """Return the fingerprint of the data set cached under `key`, or None; read no image."""
    found = _read(cache_folder() / key)
    return None if found is None else found.fingerprint


def free_cache_space() -> int:
    """Return the free bytes of the disk of the cache folder.

    Raises:
        DataError: the cache folder is not writable.
    """
    folder = cache_folder()
    with _explain_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        return shutil.disk_usage(folder).free


def temporary_array(shape: tuple[int, ...]) -> Images:
    """Return a memory-mapped array of zeros, in a file that vanishes with it.

    Raises:
        DataError: the cache folder is not writable, or its disk is full.
    """
    with _explain_write_errors(cache_folder()), tempfile.TemporaryFile(dir=cache_folder()) as file:
        if hasattr(os, "posix_fallocate"):  # else a full disk would end the process at a later write
            os.posix_fallocate(file.fileno(), 0, math.prod(shape))
        return np.memmap(file, np.uint8, "w+", shape=shape)


def _write(folder: Path, data: Dataset) -> Dataset:
    """Write a data set atomically, and return it memory-mapped."""
    with _explain_write_errors(folder.parent), tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-") as parent:
        new = Path(parent) / "new"
        new.mkdir()
        for name in ARRAYS:
            np.save(new / f"{name}.npy", getattr(data, name))
        metadata = {name: getattr(data, name) for name in METADATA_FIELDS}
        (new / METADATA).write_text(json.dumps(metadata), encoding="utf-8")
        if folder.is_dir():
            shutil.rmtree(folder)
        new.rename(folder)
    return _read(folder) or data


def _read_checked(folder: Path) -> Dataset | None:
    """Return the data set in a folder after checking every value; None if it is missing or corrupted."""
    data = _read(folder)
    if data is None or compute_fingerprint(*(getattr(data, name) for name in ARRAYS)) != data.fingerprint:
        return None
    return data


def _read(folder: Path) -> Dataset | None:
    """As `_read_checked`, but check only the headers and the sizes of the files."""
    try:
        metadata = json.loads((folder / METADATA).read_text(encoding="utf-8"))
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in ARRAYS}
        return Dataset(**arrays, **{name: metadata[name] for name in METADATA_FIELDS})
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None


@contextmanager
def _explain_write_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{folder}: decoded data cannot be written ({error.strerror}); set KDBENCH_CACHE to a writable folder"
        ) from error
