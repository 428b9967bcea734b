"""Bring the results of one folder into another. Nothing is deleted, and what is done stays."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from kdbench.errors import ResultsError
from kdbench.results import checkpoints
from kdbench.results.files import writable
from kdbench.results.quarantine import LOCK, quarantine_folder
from kdbench.results.store import Store

SCORES = ("test_", "val_", "teacher_agreement", "parameters", "epochs_run", "best_epoch")


@final
@dataclass
class Merged:
    """What was copied, and what was not, with the reason."""

    runs: list[str] = field(default_factory=list)
    matrices: list[str] = field(default_factory=list)
    timings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def merge(into: Store, source: Store) -> Merged:
    """Copy what `into` lacks: runs, what matrices asked for, timings.

    A run that is done takes the place of one that has failed, waits or is corrupted, whose files go into the quarantine.
    Of two that are done, the one of `into` stays, and so does its index of a matrix.

    Raises:
        ResultsError: the runs were trained with another number of threads; or `into` cannot be written to.
    """
    _check_threads(into, source)
    merged = Merged()
    for run in source.run_ids():
        note = _merge_run(into, source, run)
        if note is None:
            merged.runs.append(run)
        elif note:
            merged.notes.append(f"{run}: {note}")
    for path in sorted(source.matrices.glob("*.json")):
        _merge_index(into, source, path.stem, merged)
    for path in sorted(source.timings.glob("*.json")):
        timing = source.timing(path.stem)
        if timing is not None and into.timing(path.stem) is None:
            into.write_timing(path.stem, timing)
            merged.timings.append(path.stem)
    return merged


def _check_threads(into: Store, source: Store) -> None:
    if into.root.resolve() == source.root.resolve():
        raise ResultsError(f"{source.root}: a results folder cannot be merged into itself; name two folders")
    ours, theirs = into.recorded("threads"), source.recorded("threads")
    if None not in (ours, theirs) and ours != theirs:
        raise ResultsError(
            f"{source.root}: its runs were trained with threads = {theirs}, those of {into.root} with {ours}, and the "
            "numbers depend on it; keep the folders apart, or run the matrix into one of them"
        )
    if theirs is not None:
        into.setting("threads", theirs)


def _merge_run(into: Store, source: Store, run: str) -> str | None:
    """Copy a run if `into` lacks it. None: it was; else why not, or nothing where there is nothing to tell."""
    theirs, state = source.result(run), into.state(run)
    if theirs is None:
        return ""
    if _stays(into, run):
        return _different(into.result(run) or {}, theirs) if theirs["status"] == "done" else ""
    if state == "running":
        return "left out: another process trains it now"
    if theirs["status"] == "failed" and into.folder(run).exists():
        return ""
    damage = source.corruption(run, deep=True)
    if damage is not None:
        return f"left out, it is corrupted: {damage}"
    return None if _copy(into, source, run) else "left out: another process has begun it"


def _stays(into: Store, run: str) -> bool:
    return into.state(run) == "done" and into.corruption(run) is None


def _different(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    mine, other = ours.get("row", {}), theirs.get("row", {})
    names = [key for key in mine | other if key.startswith(SCORES) and mine.get(key) != other.get(key)]
    shown = ", ".join(f"{key} {mine.get(key)} here, {other.get(key)} there" for key in names[:2])
    return f"done in both folders with different numbers ({shown}); the one here stays" if names else ""


def _copy(into: Store, source: Store, run: str) -> bool:
    """First beside, then in its place, the result last: until then the run is not finished."""
    beside = into.root / f".{run}.{os.getpid()}.tmp"
    ignored = shutil.ignore_patterns(LOCK, ".*.tmp", *checkpoints.NAMES)
    try:
        with writable(into.root):
            shutil.copytree(source.folder(run), beside, ignore=ignored)
        with into.claimed(run) as mine:
            if not mine or _stays(into, run):
                return False
            _replace(into, into.folder(run), beside, f"replaced by the run of {source.root}")
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return True


def _replace(into: Store, folder: Path, beside: Path, why: str) -> None:
    if any(path.name != LOCK for path in folder.iterdir()):
        quarantine_folder(folder, into.root / "quarantine", why)
    with writable(folder):
        for path in sorted(beside.iterdir(), key=lambda path: path.name == "result.json"):
            path.rename(folder / path.name)


def _merge_index(into: Store, source: Store, name: str, merged: Merged) -> None:
    try:
        index = source.read_index(name)
    except ResultsError as error:
        merged.notes.append(f"matrix {name}: left out, {error}")
        return
    ours = into.index(name)
    if ours is None:
        into.write_index(index)
        merged.matrices.append(name)
    elif ours != index:
        merged.notes.append(f"matrix {name}: asked for differently in the two folders; the one here stays")
