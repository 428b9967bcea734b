"""What tables compute from the predictions of runs: agreement with the teacher, and intervals over test images."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import numpy as np
from numpy.typing import NDArray

from kdbench.analysis import Interval, agreement, bootstrap_interval
from kdbench.errors import ResultsError
from kdbench.reporting.selection import Selection
from kdbench.results.predictions import BEST, STUDENT, Predictions, read_predictions
from kdbench.results.store import Store

if TYPE_CHECKING:
    import pandas as pd

    from kdbench.reporting.matrix_results import MatrixResults
    from kdbench.results.index import IndexCell

NO_EPOCH = (
    "The predictions of the best test epoch are not kept, so there is no agreement with the teacher and no interval "
    "over test images."
)

Load = Callable[[str], Mapping[str, Predictions]]


@final
@dataclass(frozen=True, eq=False)
class ImageHits:
    """The predicted class of each test image (N,), -1 without one, and whether it is the true class (N,)."""

    predicted: NDArray[np.integer[Any]]
    correct: NDArray[np.bool_]


@final
class PredictionReader:
    """Reads the predictions of runs when a table needs them, and each file once.

    Args:
        load: returns the predictions of a run by the name of the network, or raises `ResultsError`; None: there are
            no predictions.
    """

    def __init__(self, load: Load | None = None) -> None:
        self._load = load
        self._read = cache(self._read_once)

    @classmethod
    def of(cls, root: Path | str) -> "PredictionReader":
        """Return the reader of a results folder."""
        return cls(lambda run_id: read_predictions(Store(root, create=False), run_id))

    def saved(self, run_id: str) -> ImageHits | None:
        """Return the predictions of a run's saved weights; None if there are none."""
        return self._read(run_id).get(STUDENT)

    def selected(self, run_id: str, selection: Selection) -> ImageHits | None:
        """Return the predictions of the weights that a selection shows; None if there are none."""
        if selection == "best_test":
            return None
        networks = self._read(run_id)
        return networks.get(BEST, networks.get(STUDENT)) if selection == "best_validation" else networks.get(STUDENT)

    def is_missing(self, run_id: str) -> bool:
        """Return whether a run has no predictions that can be read."""
        return self._load is not None and not self._read(run_id)

    def _read_once(self, run_id: str) -> dict[str, ImageHits]:
        try:
            networks = self._load(run_id) if self._load else {}
        except ResultsError:
            return {}
        return {name: _compact(networks[name]) for name in (STUDENT, BEST) if name in networks}


def _compact(one: Predictions) -> ImageHits:
    dtype = np.int16 if one.num_classes <= np.iinfo(np.int16).max else np.int32
    return ImageHits(one.predicted.astype(dtype), one.correct)


def teacher_agreement(results: "MatrixResults", cell: "IndexCell") -> "pd.Series[float]":
    """Return the share of test images for which student and teacher predict the same class, indexed by seed.

    The student has the weights that the selection shows, the teacher of the row those that it was saved with.
    """
    import pandas as pd

    found: dict[str, float] = {}
    for seed, run in cell.runs.items():
        teacher = cell.teachers.get(seed)
        if teacher is None or not _are_done(results, (run, teacher)):
            continue
        ours = results.predictions.selected(run, results.selection)
        theirs = None if ours is None else results.predictions.saved(teacher)
        if ours is not None and theirs is not None and len(ours.predicted) == len(theirs.predicted):
            found[seed] = agreement(ours.predicted, theirs.predicted)
    return pd.Series(found, dtype=float)


def gain_over_images(results: "MatrixResults", cell: "IndexCell", baseline: "IndexCell") -> Interval | None:
    """Return the 95 % interval of the mean gain over seeds and test images, by `bootstrap_interval`.

    None for fewer than two common seeds, or if one of them has no predictions or those of another number of images.
    """
    gains: list[NDArray[Any]] = []
    for seed, run in cell.runs.items():
        runs = (run, baseline.runs.get(seed))
        if not _are_done(results, runs):
            continue
        first, second = (results.predictions.selected(str(one), results.selection) for one in runs)
        if first is None or second is None or len({len(first.correct), len(second.correct), *map(len, gains)}) > 1:
            return None
        gains.append(first.correct.astype(np.int8) - second.correct)
    return bootstrap_interval(np.stack(gains)) if gains else None


def prediction_notes(results: "MatrixResults", cells: Iterable["IndexCell | None"]) -> tuple[str, ...]:
    """Return a note if finished runs of the cells, or their teachers, have no predictions for the selection."""
    if results.selection == "best_test":
        return (NO_EPOCH,)
    shown = [cell for cell in cells if cell is not None]
    runs = dict.fromkeys(run for cell in shown for run in (*cell.runs.values(), *cell.teachers.values()))
    missing = [run for run in runs if _are_done(results, (run,)) and results.predictions.is_missing(run)]
    if not missing:
        return ()
    return (
        f"The predictions of {_count(missing)} cannot be read, so there is no agreement with the teacher and no "
        "interval over test images for them; `kdbench reindex --deep` moves corrupted runs to the quarantine.",
    )


def _count(runs: Sequence[str]) -> str:
    return f"run {runs[0]}" if len(runs) == 1 else f"{len(runs)} runs"


def _are_done(results: "MatrixResults", runs: Iterable[str | None]) -> bool:
    return all(run is not None and results.status(run) == "done" for run in runs)
