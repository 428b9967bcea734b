"""Copy the results of one folder into another. Nothing is deleted, and finished runs of the target are kept."""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from kdbench.errors import ResultsError, printable
from kdbench.results import checkpoints
from kdbench.results.files import writable
from kdbench.results.integrity import FILES, quarantine_folder
from kdbench.results.locks import LOCK
from kdbench.results.regular_files import irregularity
from kdbench.results.sessions import copy_sessions
from kdbench.results.store import Store
from kdbench.results.timings import read_timings, write_timing

MAX_TEXT_BYTES = 2**28  # of a log; the size of the other files is checked
SCORES = ("test_", "val_", "teacher_agreement", "parameters", "epochs_run", "best_epoch")  # columns, by prefix


@final
@dataclass
class Merged:
    """The runs, matrices, timings and sessions that were copied, and notes on those that were not."""

    runs: list[str] = field(default_factory=list)
    matrices: list[str] = field(default_factory=list)
    timings: list[str] = field(default_factory=list)
    sessions: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def merge(target: Store, source: Store) -> Merged:
    """Copy runs, indexes of matrices, timings and ended sessions that `target` lacks from `source`.

    Timings of one architecture in two environments are kept both; reports show those of one environment, or name the
    rows that were timed in another.

    A run that is done replaces a run of `target` that is failed, pending or corrupted, whose files are moved to the
    quarantine. If a run is done in both folders, or both have an index of a matrix, that of `target` is kept, unless
    only the index of `source` has the configurations that the search has chosen.

    Raises:
        ResultsError: the runs were trained with another number of threads.
        StorageError: `target` cannot be written to.
    """
    _merge_threads(target, source)
    merged = Merged()
    for run in source.run_ids():
        note = _merge_run(target, source, run)
        if note is None:
            merged.runs.append(run)
        elif note:
            merged.notes.append(f"{run}: {note}")
    for path in sorted(source.matrices.glob("*.json")):
        _merge_index(target, source, path.stem, merged)
    known = {timing.key for timing in read_timings(target.timings)}
    for timing in read_timings(source.timings):
        if timing.key not in known:
            write_timing(target.timings, timing)
            merged.timings.append(timing.key)
    merged.sessions += copy_sessions(target.sessions, source.sessions)
    return merged


def _merge_threads(target: Store, source: Store) -> None:
    if target.root.resolve() == source.root.resolve():
        raise ResultsError(f"{source.root}: a results folder cannot be merged into itself; name two folders")
    ours, theirs = target.threads, source.threads
    if None not in (ours, theirs) and ours != theirs:
        raise ResultsError(
            f"{source.root}: its runs were trained with threads = {theirs}, those of {target.root} with {ours}, and "
            "the numbers depend on it; keep both folders, or rerun the matrix in one of them"
        )
    if theirs is not None:
        target.fix_threads(theirs)


def _merge_run(target: Store, source: Store, run: str) -> str | None:
    """Copy a run if the target lacks it. Return None if it was copied, else the reason, or "" if there is no news."""
    theirs, state = source.result(run), target.state(run)
    if theirs is None:
        return ""
    if _is_intact(target, run):
        return _differences(target.result(run) or {}, theirs) if theirs["status"] == "done" else ""
    if state == "running":
        return "not copied: another process is training it in the target folder"
    if theirs["status"] == "failed" and target.folder(run).exists():
        return ""
    corruption = source.corruption(run, deep=True)
    if corruption is not None:
        return f"not copied: it is corrupted: {corruption}"
    return None if _copy(target, source, run) else "not copied: another process has started it in the target folder"


def _is_intact(target: Store, run: str) -> bool:
    return target.state(run) == "done" and target.corruption(run) is None


def _differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    our_row, their_row = ours.get("row", {}), theirs.get("row", {})
    names = [key for key in our_row | their_row if key.startswith(SCORES) and our_row.get(key) != their_row.get(key)]
    shown = ", ".join(
        f"{key} {our_row.get(key)} in the target, {their_row.get(key)} in the source" for key in names[:2]
    )
    return f"not copied: done in both folders with different numbers ({shown})" if names else ""


def _copy(target: Store, source: Store, run: str) -> bool:
    """Copy a run to a temporary folder, then rename its files, the result last: until then it is not finished."""
    temporary = target.root / f".{run}.{os.getpid()}.tmp"
    named = shutil.ignore_patterns(LOCK, ".*.tmp", *checkpoints.NAMES)

    def ignored(folder: str, names: list[str]) -> set[str]:
        return named(folder, names) | {name for name in names if _is_foreign(Path(folder, name))}

    try:
        with writable(target.root):
            shutil.copytree(source.folder(run), temporary, ignore=ignored)
        with target.claimed(run) as is_claimed:
            if not is_claimed or _is_intact(target, run):
                return False
            _replace(target, target.folder(run), temporary, f"replaced by the run of {source.root}")
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return True


def _is_foreign(path: Path) -> bool:
    """Return whether a file is none that a run writes: no regular file, or of a size that none of its texts has."""
    return irregularity(path) is not None or (path.name not in FILES and path.stat().st_size > MAX_TEXT_BYTES)


def _replace(target: Store, folder: Path, temporary: Path, why: str) -> None:
    if any(path.name != LOCK for path in folder.iterdir()):
        quarantine_folder(folder, target.root / "quarantine", why)
    with writable(folder):
        for path in sorted(temporary.iterdir(), key=lambda path: path.name == "result.json"):
            path.rename(folder / path.name)


def _merge_index(target: Store, source: Store, name: str, merged: Merged) -> None:
    try:
        index = source.read_index(name)
    except (FileNotFoundError, ResultsError) as error:
        merged.notes.append(f"matrix {printable(name)}: not copied: {error}")
        return
    ours = target.index(name)
    if ours is None or (ours.undecided > index.undecided and ours.digest == index.digest):
        target.write_index(index)
        merged.matrices.append(name)
    elif ours != index:
        merged.notes.append(f"matrix {name}: not copied: the two folders have different versions of it")
