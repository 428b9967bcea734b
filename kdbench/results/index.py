"""What a matrix asked for: its cells, their runs, and the cells that cannot run. One file a matrix."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any, Literal, final

from pydantic import TypeAdapter


@final
@dataclass(frozen=True)
class IndexCell:
    """One row of a table in the making: a configuration of a method on a pair and a data set, over seeds."""

    kind: Literal["teacher", "scratch", "method"]  # the two baselines, or a distilled student
    label: str  # as the matrix names it: several configurations of a sweep share one label
    dataset: str
    teacher: str  # of the pair, also for a method that uses none
    student: str
    method: str
    hyperparameters: Mapping[str, Any] = field(hash=False)
    runs: Mapping[str, str] = field(hash=False)  # seed -> run id; a teacher that all seeds share has one entry


@final
@dataclass(frozen=True)
class IncompatibleCell:
    """A cell that was asked for and cannot run, with the reason."""

    label: str
    dataset: str
    teacher: str
    student: str
    reason: str
    runs: int


@final
@dataclass(frozen=True)
class ExcludedCell:
    """Seeds of a label that the matrix leaves out on a pair and a data set."""

    label: str
    dataset: str
    teacher: str
    student: str
    seeds: tuple[int, ...]
    why: str


@final
@dataclass(frozen=True)
class MatrixIndex:
    """What `results/matrices/<name>.json` holds."""

    name: str
    file: str
    digest: str  # of everything that the plan depends on
    validation: float  # the share of the training set that selects; 0: nothing may be selected
    track_test: bool
    cells: tuple[IndexCell, ...]
    incompatible: tuple[IncompatibleCell, ...] = ()
    excluded: tuple[ExcludedCell, ...] = ()
    needed: tuple[str, ...] = ()  # runs of no cell that others need, such as a born-again network's generations

    @property
    def run_ids(self) -> tuple[str, ...]:
        """Every run of the matrix, once."""
        return tuple(dict.fromkeys([*(run for cell in self.cells for run in cell.runs.values()), *self.needed]))

    def to_json(self) -> dict[str, Any]:
        """Plain data from which `from_json` makes an equal index."""
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "MatrixIndex":
        """The index that `to_json` wrote.

        Raises:
            ValueError: it is none.
        """
        return _adapter().validate_python(dict(data))


@cache
def _adapter() -> TypeAdapter[MatrixIndex]:
    return TypeAdapter(MatrixIndex)
