"""`kdbench.json`: the format of a results folder, and the number of threads that all its runs share."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kdbench.errors import ResultsError
from kdbench.results.files import corrupted, read_json, without_remedy, write_json
from kdbench.results.regular_files import irregularity

FORMAT = 2  # 1: without checksums of the JSON files
NAME = "kdbench.json"
ThreadsOfRuns = Callable[[], int | None]  # what the results of the folder record, if any run is done


def check_format(root: Path, threads_of_runs: ThreadsOfRuns) -> None:
    """Raise unless this version of kdbench can read the folder.

    Raises:
        ResultsError: the folder has another format, or its `kdbench.json` is corrupted.
    """
    found = _read(root, threads_of_runs).get("format", 0)
    if found != FORMAT:
        age, upgrade = ("a newer", "upgrade kdbench or ") if found > FORMAT else ("an older", "")
        raise ResultsError(
            f"{root}: written by {age} kdbench (format {found}, this version reads format {FORMAT}); "
            f"{upgrade}choose another results folder with --results"
        )


def create(root: Path) -> None:
    """Write the `kdbench.json` of a new folder."""
    write_json(root / NAME, {"format": FORMAT})


def read_threads(root: Path, threads_of_runs: ThreadsOfRuns) -> int | None:
    """Return the threads per worker of all runs; None before the first run."""
    try:
        found = _read(root, threads_of_runs).get("threads")
    except FileNotFoundError:
        found = None
    return found if found is not None else threads_of_runs()


def fix_threads(root: Path, threads: int, threads_of_runs: ThreadsOfRuns) -> int:
    """Record the threads per worker of all runs, unless they are recorded already; return what is recorded."""
    try:
        metadata = _read(root, threads_of_runs)
    except FileNotFoundError:
        metadata = {"format": FORMAT}
    if "threads" not in metadata:
        metadata["threads"] = threads_of_runs() or threads
        write_json(root / NAME, metadata)
    return int(metadata["threads"])


def _read(root: Path, threads_of_runs: ThreadsOfRuns) -> dict[str, Any]:
    path = root / NAME
    try:
        return _checked(path, read_json(path))
    except ResultsError as error:
        threads = threads_of_runs()
        content = json.dumps({"format": FORMAT} | ({} if threads is None else {"threads": threads}))
        remove = f"rm -r {shlex.quote(str(path))} && " if irregularity(path) else ""
        command = f"{remove}echo {shlex.quote(content)} > {shlex.quote(str(path))}"
        raise ResultsError(f"{without_remedy(error)}; restore it with: {command}") from None


def _checked(path: Path, metadata: dict[str, Any]) -> dict[str, Any]:
    for key, lowest in (("format", 0), ("threads", 1)):
        value = metadata.get(key, lowest)
        if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value < 2**31:
            raise corrupted(path, f"{key!r} must be an integer of at least {lowest}, got {value!r}")
    return metadata
