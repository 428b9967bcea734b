"""A matrix and its runs, as one report sees them."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Literal, final

from kdbench.errors import ReportError
from kdbench.reporting.selection import SUFFIX, Selection, check
from kdbench.results.index import ExcludedCell, IncompatibleCell, IndexCell, MatrixIndex

if TYPE_CHECKING:
    import pandas as pd

Status = Literal["done", "failed", "pending"]


@final
@dataclass(frozen=True)
class Pair:
    """A teacher and a student on a data set."""

    dataset: str
    teacher: str
    student: str

    @property
    def networks(self) -> str:
        """Teacher and student in words."""
        return f"{self.teacher} → {self.student}"

    @property
    def stem(self) -> str:
        """For the names of files."""
        return f"{self.dataset}-{self.teacher}-{self.student}"

    def __str__(self) -> str:
        return f"{self.dataset}: {self.networks}"


def pair_of(cell: IndexCell | IncompatibleCell | ExcludedCell) -> Pair:
    """Where a cell belongs."""
    return Pair(cell.dataset, cell.teacher, cell.student)


@final
class Runs:
    """The runs of a matrix under one selection of epochs."""

    def __init__(self, index: MatrixIndex, frame: "pd.DataFrame", selection: Selection) -> None:
        check(index, selection)
        self.index = index
        self.selection = selection
        known = frame.reindex(columns=list(dict.fromkeys([*frame.columns, "run_id", "status", "error"])))
        known = known[known["run_id"].isin(list(index.run_ids))].drop_duplicates("run_id").set_index("run_id")
        self._done = known[known["status"] == "done"]
        self._failed = known[known["status"] == "failed"]
        self._status: dict[str, Status] = {
            **dict.fromkeys(self._failed.index, "failed"),
            **dict.fromkeys(self._done.index, "done"),
        }
        self._numbers = cache(self._column_of_numbers)
        self._seeds = cache(self._index_of_seeds)
        self._check_columns()

    def _check_columns(self) -> None:
        needed = self.column("test", "accuracy")
        if len(self._done) and needed not in self._done.columns:
            raise ReportError(
                f"selection '{self.selection}' needs the column '{needed}', and the results of matrix "
                f"'{self.index.name}' have none; use selection 'last', or train the runs again"
            )

    @property
    def pairs(self) -> tuple[Pair, ...]:
        """All pairs, data set by data set, in the matrix's order."""
        found = dict.fromkeys([*map(pair_of, self.index.cells), *map(pair_of, self.index.incompatible)])
        datasets = list(dict.fromkeys(pair.dataset for pair in found))
        return tuple(sorted(found, key=lambda pair: datasets.index(pair.dataset)))

    @property
    def seeds(self) -> int:
        """How many seeds a student is planned for."""
        students = [len(cell.runs) for cell in self.index.cells if cell.kind != "teacher"]
        return max(students or [len(cell.runs) for cell in self.index.cells], default=0)

    def column(self, split: Literal["val", "test"], metric: str) -> str:
        """The column of a metric under this selection."""
        return f"{split}_{metric}{SUFFIX[self.selection]}"

    @cached_property
    def agreement(self) -> str:
        """The column of the agreement with the teacher; the last epoch's where this selection recorded none."""
        own = f"teacher_agreement{SUFFIX[self.selection]}"
        return own if self.has(own) else "teacher_agreement"

    def has(self, column: str) -> bool:
        """Whether any run that is done has a value in this column of numbers."""
        return bool(self._numbers(column))

    def different(self, column: str) -> list[str]:
        """The different values that the runs that are done have in a column of text."""
        return sorted(set(self._done[column].dropna().astype(str))) if column in self._done.columns else []

    def status(self, run: str) -> Status:
        """Whether a run is done or failed; what is neither is waiting (or under way)."""
        return self._status.get(run, "pending")

    def count(self, runs: Iterable[str]) -> Counter[Status]:
        """How many runs have which status."""
        return Counter(self.status(run) for run in runs)

    def error(self, run: str) -> str:
        """The first line of a failed run's error."""
        text = self._failed.at[run, "error"]
        lines = text.strip().splitlines() if isinstance(text, str) else []
        return lines[0] if lines else "no message"

    def values(self, cell: IndexCell, column: str) -> "pd.Series[float]":
        """A column's values of the runs that are done, by seed."""
        import pandas as pd

        known = self._numbers(column)
        found = {seed: known[run] for seed, run in cell.runs.items() if run in known}
        return pd.Series(list(found.values()), self._seeds(tuple(found)), dtype=float)

    def scores(self, cells: Iterable[IndexCell | None], column: str) -> "pd.DataFrame":
        """A row a seed, a column a cell (named by its place, left out where there is no cell)."""
        import pandas as pd

        columns = {place: self.values(cell, column) for place, cell in enumerate(cells) if cell is not None}
        return pd.DataFrame(columns, dtype=float)

    def _column_of_numbers(self, column: str) -> Mapping[str, float]:
        if column not in self._done.columns:
            return {}
        found = self._done[column].astype(float).dropna()
        return dict(zip(map(str, found.index), found.tolist(), strict=True))

    def _index_of_seeds(self, seeds: tuple[str, ...]) -> "pd.Index[str]":
        import pandas as pd

        return pd.Index(seeds, dtype=str)
