"""Checksums of files, detection of corrupted files, and the quarantine.

A finished run that is corrupted is moved to the quarantine, never deleted, and trained again. The files of matrices and
timings are rewritten by the next run of their matrix.
"""

import hashlib
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdbench.errors import ResultsError
from kdbench.matrix.spec import RunSpec
from kdbench.results.files import read_json, without_remedy, writable
from kdbench.results.locks import LOCK
from kdbench.results.sessions import corrupted_sessions
from kdbench.results.timings import read_timing

if TYPE_CHECKING:
    from kdbench.results.store import Store

WEIGHTS, HISTORY, PREDICTIONS = "weights.safetensors", "history.parquet", "predictions.safetensors"
FILES = (WEIGHTS, HISTORY, PREDICTIONS)  # of a run that is done, beside its JSON files and its log


def checksums(folder: Path) -> dict[str, dict[str, int | str]]:
    """Return the size in bytes and the SHA-256 of the weights, history and predictions of a run, by file name.

    Raises:
        OSError: a file is missing.
    """
    files = {name: folder / name for name in FILES}
    return {name: {"bytes": path.stat().st_size, "sha256": _sha256(path)} for name, path in files.items()}


def result_corruption(result: Mapping[str, Any], run_id: str) -> str | None:
    """Return why the content of a `result.json` is not the result of the run, or None."""
    if result.get("run_id") != run_id:
        return f"result.json belongs to the run {result.get('run_id')!r}"
    if result.get("status") not in ("done", "failed"):
        return f"result.json has the status {result.get('status')!r}; it must be 'done' or 'failed'"
    types = {"row": dict, "deployed": dict, "files": dict, "architecture": str}
    wrong = next((key for key, kind in types.items() if key in result and not isinstance(result[key], kind)), None)
    return f"{wrong!r} in result.json is not a {types[wrong].__name__}" if wrong else None


def run_corruption(folder: Path, run_id: str, deep: bool = False) -> str | None:
    """Return why a finished run is corrupted, or None if it is not, or not finished.

    By default the sizes of its files are compared, with `deep` also their checksums and formats.
    """
    try:
        result = read_json(folder / "result.json")
    except FileNotFoundError:
        return None
    except ResultsError as error:
        return f"result.json cannot be read: {without_remedy(error)}"
    reason = result_corruption(result, run_id)
    if reason is not None or result["status"] == "failed":
        return reason
    if not (folder / "spec.json").exists():
        return "spec.json is missing"
    files = result.get("files", {})
    reasons = (file_corruption(folder / name, files.get(name), deep) for name in FILES)
    return next(filter(None, reasons), None) or (_format_corruption(folder, run_id) if deep else None)


def file_corruption(path: Path, expected: object, deep: bool = False) -> str | None:
    """Return why a file is corrupted, or None; `expected` is its entry of `checksums`."""
    if not isinstance(expected, dict):
        return f"result.json has no checksum of {path.name}"
    try:
        size = path.stat().st_size
        if size != expected.get("bytes"):
            return f"{path.name} has {size} bytes, expected {expected.get('bytes')}"
        if deep and _sha256(path) != expected.get("sha256"):
            return f"{path.name} does not match its checksum"
    except FileNotFoundError:
        return f"{path.name} is missing"
    except OSError as error:
        return f"{path.name} cannot be read ({error.strerror})"
    return None


def _format_corruption(folder: Path, run_id: str) -> str | None:
    """Return which file of a run cannot be parsed, or None."""
    import pyarrow.parquet as pq
    from safetensors import safe_open

    from kdbench.results.predictions import decode

    try:
        spec = RunSpec.from_json(read_json(folder / "spec.json"))
        if spec.id != run_id:
            return f"spec.json belongs to the run {spec.id}"
    except Exception as error:  # whatever its content makes the schema raise
        return f"spec.json cannot be read ({type(error).__name__}: {error})"
    try:
        pq.read_table(folder / HISTORY)
    except Exception as error:  # Arrow raises its own types, and OSError
        return f"{HISTORY} cannot be read ({error})"
    try:
        with safe_open(folder / WEIGHTS, framework="np"):
            pass
    except Exception as error:  # safetensors raises its own type, and OSError
        return f"{WEIGHTS} cannot be read ({error})"
    try:
        decode((folder / PREDICTIONS).read_bytes())
    except Exception as error:  # safetensors raises its own type, and OSError
        return f"{PREDICTIONS} cannot be read ({error})"
    return None


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def corrupted_indexes(store: "Store") -> dict[str, str]:
    """Return the matrices whose file in the results folder is corrupted, with the reason and the remedy."""
    found: dict[str, str] = {}
    for path in sorted(store.matrices.glob("*.json")):
        try:
            store.read_index(path.stem)
        except FileNotFoundError:
            continue
        except ResultsError as error:
            reason = " ".join(without_remedy(error).split())
            found[path.stem] = f"{reason}; run the matrix again to rewrite the file"
    return found


def corrupted_timings(store: "Store") -> Iterator[str]:
    """Yield the corrupted files of inference times, with the remedy."""
    for path in sorted(store.timings.glob("*.json")):
        if read_timing(path) is None and path.exists():
            yield f"{path}: corrupted; run the matrix again to time the network again"


def corrupt_files(store: "Store") -> Iterator[str]:
    """Yield every corrupted file of matrices, timings and sessions, with the remedy."""
    yield from corrupted_indexes(store).values()
    yield from corrupted_timings(store)
    yield from corrupted_sessions(store.sessions)


def quarantine_folder(folder: Path, quarantine: Path, why: str) -> Path:
    """Move all files of a run except its lock to a new folder of the quarantine, with a `why.txt`; return that folder.

    The result is moved first: from then on the run is not finished, even if a later step fails. The caller must have
    locked the run.

    Raises:
        ResultsError: the results folder cannot be written to.
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
