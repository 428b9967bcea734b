"""`kdbench.json`: the format of a results folder, and what was chosen once for all of its runs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kdbench.errors import ResultsError
from kdbench.results.files import read_json, without_remedy, write_json

FORMAT = 1
NAME = "kdbench.json"
OfARun = Callable[[str], int | None]  # what a run of the folder was made with


def check(root: Path, of_a_run: OfARun) -> None:
    """Refuse a folder whose format is newer, or whose description is corrupted.

    Raises:
        ResultsError: so it is.
    """
    found = _read(root, of_a_run).get("format", 0)
    if not isinstance(found, int) or found > FORMAT:
        raise ResultsError(
            f"{root}: written by a newer kdbench (format {found}, this one reads up to {FORMAT}); "
            "upgrade kdbench or choose another results folder with --results"
        )


def write(root: Path) -> None:
    """Describe a new folder."""
    write_json(root / NAME, {"format": FORMAT})


def recorded(root: Path, key: str, of_a_run: OfARun) -> int | None:
    """A value that was chosen for all runs; what a run was made with, where it is not written down."""
    try:
        found = _read(root, of_a_run).get(key)
    except FileNotFoundError:
        found = None
    return int(found) if found is not None else of_a_run(key)


def choose(root: Path, key: str, value: int, of_a_run: OfARun) -> int:
    """The value that all runs of the folder share: what is recorded, else `value`, which is recorded now."""
    about = _read(root, of_a_run)
    if key not in about:
        about[key] = of_a_run(key) or value
        write_json(root / NAME, about)
    return int(about[key])


def _read(root: Path, of_a_run: OfARun) -> dict[str, Any]:
    try:
        return read_json(root / NAME)
    except ResultsError as error:
        threads = of_a_run("threads")
        whole = json.dumps({"format": FORMAT} | ({} if threads is None else {"threads": threads}))
        raise ResultsError(f"{without_remedy(error)}; make its whole content {whole}") from None
