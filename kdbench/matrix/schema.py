"""A matrix as the file writes it: every table with its keys, types and bounds."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, final

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails

from kdbench.matrix.recipe import Count, Share, Table


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be one line of printable characters")
    return text


Line = Annotated[str, AfterValidator(_printable)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_printable)]
Seed = Annotated[int, Ge(0), Lt(2**31)]


def _listed(value: object) -> object:
    return [value] if isinstance(value, str | int) else value


Names = Annotated[tuple[Name, ...], Field(strict=False), BeforeValidator(_listed), MinLen(1)]
Seeds = Annotated[tuple[Seed, ...], Field(strict=False), BeforeValidator(_listed), MinLen(1)]


class Pair(Table):
    """A teacher and a student; `peers` are the other networks that train with the student in online methods."""

    teacher: Name
    student: Name
    peers: Annotated[tuple[Name, ...], Field(strict=False)] = ()


class Protocol(Table):
    """What holds for every run of the matrix."""

    validation: Share = 0.1
    split_seed: Seed = 0
    teacher_seed: Seed | Literal["paired"] = 0
    track_test: bool = False


@final
@dataclass(frozen=True)
class Place:
    """Where a cell stands in the matrix; `methods` are its label and the methods that this names (none: a teacher)."""

    dataset: str
    teacher: str
    student: str
    methods: tuple[str, ...]


class Selector(Table):
    """Which cells are meant: those that agree in every key that is given."""

    dataset: Names | None = None
    teacher: Names | None = None
    student: Names | None = None
    method: Names | None = None  # a label, or a method's name
    seed: Seeds | None = None

    def matches(self, place: Place) -> bool:
        """Whether a cell is meant, whatever its seed."""
        return (
            (self.dataset is None or place.dataset in self.dataset)
            and (self.teacher is None or place.teacher in self.teacher)
            and (self.student is None or place.student in self.student)
            and (self.method is None or any(m in self.method for m in place.methods))
        )


class Exclude(Selector):
    """Cells that are not run; one that names neither method nor seed leaves out the baselines too."""

    why: Line = ""

    @property
    def is_whole(self) -> bool:
        """Whether nothing of a pair is left on the data sets that are meant."""
        return self.method is None and self.seed is None


class Override(Table):
    """Other values of recipe or method keys for some cells."""

    when: Selector
    set: Annotated[dict[str, dict[str, Any]], MinLen(1)]

    @field_validator("when")
    @classmethod
    def _no_seed(cls, when: Selector) -> Selector:
        if when.seed is not None:
            raise ValueError("an override holds for all seeds of a cell: remove 'seed'")
        return when

    @field_validator("set")
    @classmethod
    def _only_recipe_and_methods(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        wrong = sorted(set(value) - {"recipe", "methods"})
        if wrong:
            raise ValueError(f"an override sets recipe.* or methods.*, not '{wrong[0]}'")
        return value


class NamedTable(Table):
    """A table whose further keys are options of what it names."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, allow_inf_nan=False)

    @property
    def options(self) -> dict[str, Any]:
        """The keys beside those of the schema."""
        return dict(self.model_extra or {})


class DatasetTable(NamedTable):
    """A data set of one's own, or options for a known one."""

    kind: Name | None = None


class NetworkTable(NamedTable):
    """A network of one's own, `module:callable`, or a known one; and the weights that it starts from."""

    factory: Name | None = None
    architecture: Name | None = None
    weights: Annotated[str, StringConstraints(min_length=1)] | None = None
    pretrained: bool = False

    @model_validator(mode="after")
    def _one_network(self) -> "NetworkTable":
        if (self.factory is None) == (self.architecture is None):
            raise ValueError("must have either 'factory' (a network of your own) or 'architecture' (a known name)")
        if self.weights is not None and self.pretrained:
            raise ValueError("starts either from 'weights' or as 'pretrained': remove one of them")
        if self.architecture is not None:
            _refuse_options(self.options)
        return self


def _refuse_options(options: dict[str, Any]) -> None:
    """Only a factory takes options; what stands beside an architecture is an unknown key."""
    unknown = [InitErrorDetails(type="extra_forbidden", loc=(key,), input=value) for key, value in options.items()]
    if unknown:
        raise ValidationError.from_exception_data(NetworkTable.__name__, unknown)


class RunOptions(Table):
    """Where and how; never part of a run's identity."""

    devices: Literal["auto", "cpu", "cuda"] = "auto"
    workers: Count | None = None
    threads: Count | None = None
    runs_per_device: Count = 1
    checkpoint_minutes: Annotated[float, Ge(0)] = 5.0
    time_limit: Annotated[float, Gt(0)] | None = None  # minutes a run
    teacher_cache_gb: Annotated[float, Ge(0), Le(1e6)] = 2.0  # of what teachers said; 0: none is kept or repeated
    compile: bool = False  # networks train through torch.compile
    cuda_graphs: bool = False  # steps on a GPU are captured and repeated


class MatrixSpec(Table):
    """One matrix, validated but not yet expanded."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)]
    seeds: Annotated[tuple[Seed, ...], Field(strict=False), MinLen(1)] = (0,)
    datasets: Annotated[tuple[Name, ...], Field(strict=False), MinLen(1)]
    pairs: Annotated[tuple[Pair, ...], Field(strict=False), MinLen(1)]
    recipe: dict[str, Any] = Field(default_factory=dict)
    protocol: Protocol = Protocol()
    methods: dict[Name, dict[str, Any]] = Field(default_factory=dict)
    dataset: dict[Name, DatasetTable] = Field(default_factory=dict)
    network: dict[Name, NetworkTable] = Field(default_factory=dict)
    exclude: Annotated[tuple[Exclude, ...], Field(strict=False)] = ()
    override: Annotated[tuple[Override, ...], Field(strict=False)] = ()
    run: RunOptions = RunOptions()
    file: str = Field(default="", exclude=True)

    @field_validator("seeds", "datasets", "pairs")
    @classmethod
    def _no_duplicates(cls, values: tuple[object, ...]) -> tuple[object, ...]:
        for place, value in enumerate(values):
            if value in values[:place]:
                raise ValueError(f"values must differ, [{place}] is [{values.index(value)}] again")
        return values
