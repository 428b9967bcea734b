"""The index of a matrix: its cells with their runs, and the cells that are incompatible or excluded."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Annotated, Any, Literal, final

from annotated_types import Ge, Le, Lt
from pydantic import StringConstraints, TypeAdapter

from kdbench.formatting import format_run
from kdbench.matrix.recipe import Recipe
from kdbench.matrix.schema import Line
from kdbench.results.names import RUN_ID

RunId = Annotated[str, StringConstraints(pattern=RUN_ID)]
SeedText = Annotated[str, StringConstraints(pattern="^[0-9]{1,18}$")]
Count = Annotated[int, Ge(0), Lt(2**63)]
Fraction = Annotated[float, Ge(0), Le(1)]


@final
@dataclass(frozen=True)
class IndexCell:
    """A cell: one configuration of a method on a pair and a data set, over seeds."""

    kind: Literal["teacher", "scratch", "method"]  # the two baselines, or a distilled student
    label: Line  # all configurations of a sweep share one label
    dataset: Line
    teacher: Line  # of the pair, also for a method without a teacher
    student: Line
    method: Line
    hyperparameters: Mapping[Line, Any] = field(hash=False)
    runs: Mapping[SeedText, RunId] = field(hash=False)  # seed -> run id; a teacher that all seeds share has one entry
    phase: Literal["report", "search"] = "report"  # search: on `protocol.search_seeds`, to choose a configuration
    training: str = ""  # the key of its `Training` in `MatrixIndex.trainings`
    teachers: Mapping[SeedText, RunId] = field(default_factory=dict, hash=False)  # seed -> run id of the row's teacher


@final
@dataclass(frozen=True)
class Training:
    """What the runs of a cell are trained on, and for how long."""

    recipe: Mapping[str, Any] = field(hash=False)  # resolved, every key
    train_images: Count
    validation_images: Count
    available_images: Count  # training images of the data set: what a run could train on
    test_images: Annotated[Count, Ge(1)]
    steps: Count  # optimizer steps per run without early stopping: epochs times batches per epoch
    reads_images: bool = True  # False: the method generates its inputs
    views: Count = 1  # augmented views of each image in a batch
    initial_weights: str = ""  # of the network that trains: a path, or "pretrained"; empty: random
    test_duplicates: Count = 0  # test images of the data set that are also training images, pixel by pixel


@final
@dataclass(frozen=True)
class IncompatibleCell:
    """An incompatible cell of the matrix, with the reason."""

    label: Line
    dataset: Line
    teacher: Line
    student: Line
    reason: str
    runs: Count


@final
@dataclass(frozen=True)
class ExcludedCell:
    """Seeds of a label that the matrix excludes on a pair and a data set."""

    label: Line
    dataset: Line
    teacher: Line
    student: Line
    seeds: tuple[Count, ...]
    why: str


@final
@dataclass(frozen=True)
class MatrixIndex:
    """The content of `results/matrices/<name>.json`."""

    name: str
    file: str
    digest: str  # of everything that the plan depends on; empty if it depends on the user's own files
    validation: Fraction  # fraction of the training images that is used for validation
    track_test: bool
    cells: tuple[IndexCell, ...]
    incompatible: tuple[IncompatibleCell, ...] = ()
    excluded: tuple[ExcludedCell, ...] = ()
    needed: tuple[RunId, ...] = ()  # runs that others need, such as the generations of a born-again network
    trainings: Mapping[str, Training] = field(default_factory=dict, hash=False)  # by the key that cells have
    seeds: tuple[Count, ...] = ()
    search_seeds: tuple[Count, ...] = ()  # empty: configurations are chosen on `seeds`
    split_seed: Count | Literal["paired"] = 0
    teacher_seed: Count | Literal["paired"] = 0
    refit: bool = False  # whether the report phase trains on the validation images too
    undecided: Count = 0  # labels, on each data set and pair, whose configuration is not chosen yet

    @property
    def run_ids(self) -> tuple[str, ...]:
        """The ids of all runs of the matrix, without duplicates."""
        return tuple(dict.fromkeys([*(run for cell in self.cells for run in cell.runs.values()), *self.needed]))

    def labels(self, run_id: str) -> tuple[str, ...]:
        """Return the labels of the cells of a run, without duplicates; none for a run that only other runs need."""
        return tuple(dict.fromkeys(cell.label for cell in self.cells if run_id in cell.runs.values()))

    def describe_run(self, run_id: str) -> str:
        """Return how a line of text names a run, such as "vanilla, seed 1 (3f2a90bc)"."""
        for cell in self.cells:
            for seed, run in cell.runs.items():
                if run == run_id:
                    return format_run(cell.label, seed, run)
        return f"needed by other runs ({run_id[:8]})"

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `from_json`."""
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "MatrixIndex":
        """Return the index that `to_json` converted.

        Raises:
            ValueError: the data have another structure.
        """
        index = _adapter().validate_python(dict(data))
        for training in index.trainings.values():
            if Recipe.model_validate(training.recipe).model_dump(mode="json") != training.recipe:
                raise ValueError("a recipe is incomplete")
        return index


@cache
def _adapter() -> TypeAdapter[MatrixIndex]:
    return TypeAdapter(MatrixIndex)
