"""Checksums of files, detection of corrupted files, and the quarantine.

A finished run that is corrupted is moved to the quarantine, never deleted, and trained again. The files of matrices and
timings are rewritten by the next run of their matrix.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdbench.errors import ResultsError, StorageError, printable
from kdbench.formatting import count_of
from kdbench.matrix.spec import RunSpec
from kdbench.results.checkpoints import NAMES as CHECKPOINTS
from kdbench.results.files import corrupted, read_checked_json, without_remedy, writable
from kdbench.results.locks import LOCK
from kdbench.results.names import is_architecture, is_run_id
from kdbench.results.regular_files import irregularity, kind_of, read_file, read_regular
from kdbench.results.row_values import result_values_corruption
from kdbench.results.sessions import corrupted_sessions
from kdbench.results.storage_errors import repeat_read, storage_errors
from kdbench.results.timings import read_timing

if TYPE_CHECKING:
    from kdbench.results.store import Store

WEIGHTS, HISTORY, PREDICTIONS = "weights.safetensors", "history.parquet", "predictions.safetensors"
FILES = (WEIGHTS, HISTORY, PREDICTIONS)  # of a run that is done, beside its JSON files and its log
RUN_FILES = frozenset({"spec.json", "attempt.json", "result.json", "log.txt", *FILES, *CHECKPOINTS})
MAX_SPEC, MAX_HISTORY, MAX_PREDICTIONS = 2**27, 2**26, 2**28  # bytes; a spec has those of all runs that it needs


def checksums(folder: Path) -> dict[str, dict[str, int | str]]:
    """Return the size in bytes and the SHA-256 of the weights, history and predictions of a run, by file name.

    Raises:
        OSError: a file is missing.
    """
    files = {name: folder / name for name in FILES}
    return {name: {"bytes": path.stat().st_size, "sha256": _sha256(path)} for name, path in files.items()}


def read_result(folder: Path, run_id: str) -> dict[str, Any]:
    """Return the content of the `result.json` of a run, whose checksum, types and ranges were checked.

    Raises:
        ResultsError: the file is corrupted.
        FileNotFoundError: the run is not finished.
    """
    path = folder / "result.json"
    result = read_checked_json(path)
    reason = result_corruption(result, run_id)
    if reason is not None:
        raise corrupted(path, reason)
    return result


def result_corruption(result: Mapping[str, Any], run_id: str) -> str | None:
    """Return why the content of a `result.json` is not the result of the run, or None."""
    if result.get("run_id") != run_id:
        return f"result.json belongs to the run {result.get('run_id')!r}"
    if result.get("status") not in ("done", "failed"):
        return f"result.json has the status {result.get('status')!r}; it must be 'done' or 'failed'"
    types = {"row": dict, "deployed": dict, "files": dict, "architecture": str}
    wrong = next((key for key, kind in types.items() if key in result and not isinstance(result[key], kind)), None)
    if wrong is not None:
        return f"{wrong!r} in result.json is not a {types[wrong].__name__}"
    if not isinstance(result.get("error"), str | None):
        return "'error' in result.json is not a str"
    architecture = result.get("architecture")
    if architecture is not None and not is_architecture(architecture):
        return f"'architecture' in result.json must be letters and digits, got {architecture!r}"
    return result_values_corruption(result)


def run_corruption(folder: Path, run_id: str, deep: bool = False) -> str | None:
    """Return why a run is corrupted, or None if it is not.

    Of an unfinished run only the kinds of its files are checked: anything but a regular file cannot be read or written.
    By default the content of the JSON files and the sizes of the others are checked, with `deep` also their checksums
    and formats.

    Raises:
        StorageError: a file cannot be read, so that nothing is known of its content.
    """
    reason = _irregular_file(folder)
    if reason is not None:
        return reason
    try:
        result = read_checked_json(folder / "result.json")
    except FileNotFoundError:
        return None
    except ResultsError as error:
        return f"result.json cannot be read: {without_remedy(error)}"
    reason = result_corruption(result, run_id)
    if reason is not None or result["status"] == "failed":
        return reason
    return _done_corruption(folder, run_id, result, deep)


def _irregular_file(folder: Path) -> str | None:
    """Return which file of a run is something else, such as a directory or a FIFO, or None."""
    try:
        with os.scandir(folder) as entries:
            found = sorted(entry.name for entry in entries if entry.name in RUN_FILES and not entry.is_file())
        kinds = ((name, irregularity(folder / name)) for name in found)
        return next((f"{name} is {kind}, not a regular file" for name, kind in kinds if kind), None)
    except OSError:  # no folder, or one that cannot be read, which is found where it is used
        return None


def _done_corruption(folder: Path, run_id: str, result: Mapping[str, Any], deep: bool) -> str | None:
    try:
        spec = read_spec(folder)
    except FileNotFoundError:
        return "spec.json is missing"
    except ResultsError as error:
        return f"spec.json cannot be read: {without_remedy(error)}"
    if spec.id != run_id:
        return f"spec.json belongs to the run {spec.id}"
    files = result.get("files", {})
    reasons = (file_corruption(folder / name, files.get(name), deep) for name in FILES)
    return (
        next(filter(None, reasons), None)
        or _missing_score(spec, result)
        or (_format_corruption(folder, result) if deep else None)
    )


def _missing_score(spec: RunSpec, result: Mapping[str, Any]) -> str | None:
    needed = ["test_accuracy", *(["val_accuracy"] if spec.split.validation else [])]
    return next((f"result.json has no {name}" for name in needed if name not in result.get("row", {})), None)


def read_spec(folder: Path) -> RunSpec:
    """Return the spec of the run in a folder.

    Raises:
        ResultsError: the file is corrupted.
        FileNotFoundError: it is missing.
    """
    path = folder / "spec.json"
    try:
        return RunSpec.from_json(read_checked_json(path, MAX_SPEC))
    except ValueError as error:
        raise corrupted(path, error) from None


def file_corruption(path: Path, expected: object, deep: bool = False) -> str | None:
    """Return why a file is corrupted, or None; `expected` is its entry of `checksums`.

    Raises:
        StorageError: the file cannot be read.
    """
    if not isinstance(expected, dict):
        return f"result.json has no checksum of {path.name}"
    try:
        status = repeat_read(path, path.stat)
        kind, size = kind_of(status.st_mode), status.st_size
        if kind is not None:
            return f"{path.name} is {kind}, not a regular file"
        if size != expected.get("bytes"):
            return f"{path.name} has {size} bytes, expected {expected.get('bytes')}"
        if deep and _sha256(path) != expected.get("sha256"):
            return f"{path.name} does not match its checksum"
    except FileNotFoundError:
        return f"{path.name} is missing"
    except OSError as error:
        return f"{path.name} cannot be read ({error.strerror})"
    return None


def _format_corruption(folder: Path, result: Mapping[str, Any]) -> str | None:
    """Return which binary file of a run cannot be parsed, or None."""
    from safetensors import safe_open

    from kdbench.results.history import parse_history
    from kdbench.results.predictions import decode

    name = HISTORY
    try:
        with storage_errors():
            epochs = parse_history(read_regular(folder / name, MAX_HISTORY)).num_rows
            name = WEIGHTS
            with safe_open(folder / name, framework="np"):
                name = PREDICTIONS
            decode(read_regular(folder / name, MAX_PREDICTIONS))
    except StorageError:
        raise
    except Exception as error:  # Arrow and safetensors raise their own types, and OSError
        return f"{name} cannot be read ({' '.join(str(error).split())})"
    expected = result["row"].get("epochs_run")
    return f"{HISTORY} has {count_of(epochs, 'epoch')}, expected {expected}" if expected not in (None, epochs) else None


def _sha256(path: Path) -> str:
    return read_file(path, lambda handle: hashlib.file_digest(handle, "sha256").hexdigest())


def corrupted_indexes(store: "Store") -> dict[str, str]:
    """Return the matrices whose file in the results folder is corrupted, with the reason and the remedy."""
    found: dict[str, str] = {}
    for path in sorted(store.matrices.glob("*.json")):
        try:
            store.read_index(path.stem)
        except FileNotFoundError:
            continue
        except ResultsError as error:
            found[printable(path.stem)] = f"{without_remedy(error)}; run the matrix again to rewrite the file"
    return found


def corrupted_timings(store: "Store") -> Iterator[str]:
    """Yield the corrupted files of inference times, with the remedy."""
    for path in sorted(store.timings.glob("*.json")):
        if read_timing(path) is None and path.exists():
            yield f"{printable(str(path))}: corrupted; run the matrix again to time the network again"


def corrupt_files(store: "Store") -> Iterator[str]:
    """Yield every corrupted file of matrices, timings and sessions, and every foreign file among the runs."""
    yield from corrupted_indexes(store).values()
    yield from corrupted_timings(store)
    yield from corrupted_sessions(store.sessions)
    for path in sorted(store.runs.glob("*")):
        if not is_run_id(path.name):
            yield f"{printable(str(path))}: ignored, because its name is not the id of a run; move it elsewhere"


def quarantine_folder(folder: Path, quarantine: Path, why: str) -> Path:
    """Move all files of a run except its lock to a new folder of the quarantine, with a `why.txt`; return that folder.

    The result is moved first: from then on the run is not finished, even if a later step fails. The caller must have
    locked the run.

    Raises:
        StorageError: the results folder cannot be written to.
    """
    with writable(quarantine):
        target = _make_folder(quarantine, folder.name)
        (target / "why.txt").write_text(why.rstrip() + "\n", encoding="utf-8")
        for path in sorted(folder.iterdir(), key=lambda path: path.name != "result.json"):
            if path.name != LOCK:
                path.rename(target / path.name)
    return target


def _make_folder(quarantine: Path, name: str) -> Path:
    for number in count(1):
        folder = quarantine / f"{name}-{number}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise AssertionError("there is always a next number")
