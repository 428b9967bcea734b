"""A teacher and a student on a data set."""

from dataclasses import dataclass
from typing import final

from kdbench.results.index import ExcludedCell, IncompatibleCell, IndexCell


@final
@dataclass(frozen=True)
class Pair:
    """A teacher and a student on a data set."""

    dataset: str
    teacher: str
    student: str

    @classmethod
    def of(cls, cell: IndexCell | IncompatibleCell | ExcludedCell) -> "Pair":
        """Return the pair of a cell."""
        return cls(cell.dataset, cell.teacher, cell.student)

    @property
    def networks(self) -> str:
        """Teacher and student as text."""
        return f"{self.teacher} → {self.student}"

    @property
    def file_stem(self) -> str:
        """Data set, teacher and student, for the names of files."""
        return f"{self.dataset}-{self.teacher}-{self.student}"

    def __str__(self) -> str:
        return f"{self.dataset}: {self.networks}"
