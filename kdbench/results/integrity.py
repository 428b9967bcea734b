"""Whether what a finished run left is still what it wrote. Needs no torch."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdbench.errors import ResultsError
from kdbench.matrix.spec import RunSpec
from kdbench.results.files import read_json, without_remedy

WEIGHTS, HISTORY = "weights.safetensors", "history.parquet"


def checksums(folder: Path) -> dict[str, dict[str, int | str]]:
    """What a run's `result.json` tells of its files: the size of each and its SHA-256.

    Raises:
        OSError: a file is not there.
    """
    files = {name: folder / name for name in (WEIGHTS, HISTORY)}
    return {name: {"bytes": path.stat().st_size, "sha256": _sha256(path)} for name, path in files.items()}


def malformed(result: Mapping[str, Any], run_id: str) -> str | None:
    """Why an object of JSON is not the result of a run, or None."""
    if result.get("run_id") != run_id:
        return f"result.json is of the run {result.get('run_id')!r}"
    if result.get("status") not in ("done", "failed"):
        return f"result.json has the status {result.get('status')!r}; it must be 'done' or 'failed'"
    types = {"row": dict, "deployed": dict, "files": dict, "architecture": str}
    wrong = next((key for key, kind in types.items() if key in result and not isinstance(result[key], kind)), None)
    return f"result.json has a {wrong!r} that is no {types[wrong].__name__}" if wrong else None


def corruption(folder: Path, run_id: str, deep: bool = False) -> str | None:
    """Why the finished run of a folder cannot be trusted, by the sizes of its files; `deep`: also by their content.

    None where nothing is wrong, or where the run is not finished. Runs of before there was evidence are believed as
    long as their files can be read.
    """
    try:
        result = read_json(folder / "result.json")
    except FileNotFoundError:
        return None
    except ResultsError as error:
        return f"result.json cannot be read: {without_remedy(error)}"
    wrong = malformed(result, run_id)
    if wrong is not None or result["status"] == "failed":
        return wrong
    files = result.get("files", {})
    if files and not (folder / "spec.json").exists():
        return "spec.json is missing"
    found = (file_corruption(folder / name, told, deep) for name, told in files.items() if name in (WEIGHTS, HISTORY))
    return next(filter(None, found), None) or (_unreadable(folder, run_id) if deep else None)


def file_corruption(path: Path, told: object, deep: bool = False) -> str | None:
    """Why a file is not the one that `evidence` told of, or None."""
    if not isinstance(told, dict):
        return f"result.json does not tell the size of {path.name}"
    try:
        size = path.stat().st_size
        if size != told.get("bytes"):
            return f"{path.name} has {size} bytes and was written with {told.get('bytes')}"
        if deep and _sha256(path) != told.get("sha256"):
            return f"{path.name} is not what was written: its checksum differs"
    except FileNotFoundError:
        return f"{path.name} is missing"
    except OSError as error:
        return f"{path.name} cannot be read ({error.strerror})"
    return None


def _unreadable(folder: Path, run_id: str) -> str | None:
    """Why a file of a run that is done cannot be understood, or None."""
    import pyarrow.parquet as pq
    from safetensors import safe_open

    try:
        spec = RunSpec.from_json(read_json(folder / "spec.json"))
        if spec.id != run_id:
            return f"spec.json is of the run {spec.id}"
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
    return None


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
