"""Put what cannot be trusted aside: nothing is deleted, and its run waits again."""

from itertools import count
from pathlib import Path

from kdbench.results.files import writable

LOCK = "lock"


def quarantine_folder(folder: Path, quarantine: Path, why: str) -> Path:
    """Move all of a run's folder but its lock into a new folder of the quarantine, and say why there.

    The result goes first: from then on the run is not finished, whatever happens next. The caller holds the lock.

    Raises:
        ResultsError: the results folder cannot be written to.
    """
    with writable(quarantine):
        aside = _new(quarantine, folder.name)
        (aside / "why.txt").write_text(why.rstrip() + "\n", encoding="utf-8")
        for path in sorted(folder.iterdir(), key=lambda path: path.name != "result.json"):
            if path.name != LOCK:
                path.rename(aside / path.name)
    return aside


def _new(quarantine: Path, name: str) -> Path:
    for number in count(1):
        aside = quarantine / f"{name}-{number}"
        try:
            aside.mkdir(parents=True)
        except FileExistsError:
            continue
        return aside
    raise AssertionError("there is always a next number")
