"""A matrix and the results of its runs under one selection of epochs."""

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache, cached_property
from typing import TYPE_CHECKING, Literal, final

from kdbench.errors import NOT_FINITE, ReportError
from kdbench.reporting.pair import Pair
from kdbench.reporting.predictions import PredictionReader
from kdbench.reporting.selection import SUFFIXES, Selection, check_selection
from kdbench.results.index import IndexCell, MatrixIndex, Training

if TYPE_CHECKING:
    import pandas as pd

Status = Literal["done", "failed", "running", "pending"]
Failure = Literal["diverged", "failed"]  # a loss became NaN or infinite, or another error


@final
class MatrixResults:
    """The cells of a matrix joined with the results of their runs.

    Args:
        index: the cells of the matrix and the ids of their runs.
        frame: what `load_results` returns, one row per run; runs of other matrices are ignored.
        selection: the epoch whose weights are scored.
        predictions: reads the predictions of runs; None: there are none.

    Raises:
        ReportError: the matrix or the results do not support the selection.
    """

    def __init__(
        self,
        index: MatrixIndex,
        frame: "pd.DataFrame",
        selection: Selection,
        predictions: PredictionReader | None = None,
    ) -> None:
        check_selection(index, selection)
        self.index = index
        self.selection = selection
        self.predictions = predictions or PredictionReader()
        rows = frame.reindex(columns=list(dict.fromkeys([*frame.columns, "run_id", "status", "error"])))
        rows = rows[rows["run_id"].isin(list(index.run_ids))].drop_duplicates("run_id").set_index("run_id")
        self._done = rows[rows["status"] == "done"]
        self._failed = rows[rows["status"] == "failed"]
        self._status: dict[str, Status] = {
            **dict.fromkeys(rows.index[rows["status"] == "running"], "running"),
            **dict.fromkeys(self._failed.index, "failed"),
            **dict.fromkeys(self._done.index, "done"),
        }
        self._numbers = cache(self._numeric_column)
        self._texts = cache(self._text_column)
        self._seeds = cache(self._seed_index)
        self._check_columns()

    def _check_columns(self) -> None:
        needed = self.metric_column("test", "accuracy")
        if len(self._done) and needed not in self._done.columns:
            raise ReportError(
                f"selection '{self.selection}' needs the column '{needed}', and the results of matrix "
                f"'{self.index.name}' do not have it; use selection 'last', or train the runs again"
            )

    @cached_property
    def pairs(self) -> tuple[Pair, ...]:
        """All pairs, grouped by data set, in the order of the matrix."""
        pairs = dict.fromkeys([*map(Pair.of, self.index.cells), *map(Pair.of, self.index.incompatible)])
        datasets = list(dict.fromkeys(pair.dataset for pair in pairs))
        return tuple(sorted(pairs, key=lambda pair: datasets.index(pair.dataset)))

    @property
    def num_seeds(self) -> int:
        """The number of seeds planned for a student that tables show."""
        cells = [cell for cell in self.index.cells if cell.phase == "report"]
        students = [len(cell.runs) for cell in cells if cell.kind != "teacher"]
        return max(students or [len(cell.runs) for cell in cells], default=len(self.index.seeds))

    def count_images(self, cell: IndexCell, column: str) -> int:
        """Return the number of images behind a score: the test images, or the validation images for "val_...".

        Raises:
            ReportError: the index does not have it.
        """
        if (training := self.index.trainings.get(cell.training)) is None:
            raise ReportError(
                f"the index of matrix '{self.index.name}' does not say how many test images '{cell.dataset}' has; "
                f"run `kdbench run {self.index.file}` again: it trains no finished run"
            )
        return training.validation_images if column.startswith("val_") else training.test_images

    def metric_column(self, split: Literal["val", "test"], metric: str) -> str:
        """Return the column of a metric under the selection."""
        return f"{split}_{metric}{SUFFIXES[self.selection]}"

    def unique_values(self, column: str) -> list[str]:
        """Return the different values of the finished runs in a column of text, sorted."""
        return sorted(set(self._done[column].dropna().astype(str))) if column in self._done.columns else []

    def value(self, run_id: str, column: str) -> object | None:
        """Return a value of a finished run, or None."""
        if column not in self._done.columns or run_id not in self._done.index:
            return None
        value: object = self._done.at[run_id, column]
        return None if value != value else value  # NaN is not equal to itself

    def number(self, run_id: str, column: str) -> float | None:
        """Return a number of a finished run, or None."""
        return self._numbers(column).get(run_id)

    def status(self, run_id: str) -> Status:
        """Return the status of a run; "pending" if the frame has none."""
        return self._status.get(run_id, "pending")

    def count_by_status(self, run_ids: Iterable[str]) -> Counter[Status]:
        """Return the number of runs with each status."""
        return Counter(self.status(run_id) for run_id in run_ids)

    def error(self, run_id: str) -> str:
        """Return the first line of a failed run's error."""
        text = self._failed.at[run_id, "error"]
        lines = text.strip().splitlines() if isinstance(text, str) else []
        return lines[0] if lines else "no message"

    def training(self, cell: IndexCell | None) -> Training | None:
        """Return what a cell is trained on; None if the index does not have it."""
        return None if cell is None else self.index.trainings.get(cell.training)

    def texts(self, cell: IndexCell, column: str) -> dict[str, str]:
        """Return the values of a cell's finished runs in a column as text, by seed; empty texts are left out."""
        texts = self._texts(column)
        return {seed: texts[run] for seed, run in cell.runs.items() if run in texts}

    def failures(self, cells: Iterable[IndexCell]) -> Counter[Failure]:
        """Return how many runs of the cells failed in which way."""
        failed = (run for cell in cells for run in cell.runs.values() if self.status(run) == "failed")
        return Counter("diverged" if NOT_FINITE in self.error(run) else "failed" for run in failed)

    def has_failed(self, cell: IndexCell) -> bool:
        """Return whether any run of a cell failed."""
        return any(self.status(run) == "failed" for run in cell.runs.values())

    def values(self, cell: IndexCell, column: str) -> "pd.Series[float]":
        """Return the values of a cell's finished runs in a column, indexed by seed."""
        import pandas as pd

        numbers = self._numbers(column)
        by_seed = {seed: numbers[run] for seed, run in cell.runs.items() if run in numbers}
        return pd.Series(list(by_seed.values()), self._seeds(tuple(by_seed)), dtype=float)

    def scores(self, cells: Iterable[IndexCell | None], column: str) -> "pd.DataFrame":
        """Return one row per seed and one column per cell, named by the cell's position; None has no column."""
        import pandas as pd

        columns = {index: self.values(cell, column) for index, cell in enumerate(cells) if cell is not None}
        return pd.DataFrame(columns, dtype=float)

    def failed_positions(self, cells: Iterable[IndexCell | None]) -> set[int]:
        """Return the positions of the cells with a failed run, as `scores` names them."""
        return {index for index, cell in enumerate(cells) if cell is not None and self.has_failed(cell)}

    def _numeric_column(self, column: str) -> Mapping[str, float]:
        if column not in self._done.columns:
            return {}
        values = self._done[column].astype(float).dropna()
        return dict(zip(map(str, values.index), values.tolist(), strict=True))

    def _text_column(self, column: str) -> Mapping[str, str]:
        if column not in self._done.columns:
            return {}
        texts = {str(run): _as_text(value) for run, value in self._done[column].dropna().items()}
        return {run: text for run, text in texts.items() if text}

    def _seed_index(self, seeds: tuple[str, ...]) -> "pd.Index[str]":
        import pandas as pd

        return pd.Index(seeds, dtype=str)


def _as_text(value: object) -> str:
    """Return a value of a column; one with missing values has floats for whole numbers, and objects for booleans."""
    return f"{value:g}" if isinstance(value, float) else str(value)
