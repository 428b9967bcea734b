"""The tables of a matrix file, with the type, the bounds and the description of every key."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, final

from annotated_types import Le, MinLen
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

from kdbench.matrix.protocol import Protocol, Seed, refuse_duplicates
from kdbench.matrix.recipe import Count, NonNegative, Positive, TomlTable


def _check_printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be one line of printable characters")
    return text


Line = Annotated[str, AfterValidator(_check_printable)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_check_printable)]


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str | int) else value


NameOrNames = Annotated[tuple[Name, ...], Field(strict=False), BeforeValidator(_as_list), MinLen(1)]
SeedOrSeeds = Annotated[tuple[Seed, ...], Field(strict=False), BeforeValidator(_as_list), MinLen(1)]


class Pair(TomlTable):
    """A teacher and a student."""

    teacher: Name = Field(description="Teacher network: a known name or a `[network.NAME]`")
    student: Name = Field(description="Student network: a known name or a `[network.NAME]`")
    peers: Annotated[tuple[Name, ...], Field(strict=False)] = Field(
        (),
        description="Networks that train with the student in online methods. "
        "Default: one network of the teacher's architecture, with random weights",
    )


@final
@dataclass(frozen=True)
class CellKey:
    """The parts of a cell that selectors compare. `methods` are the label and its methods; the teacher has none."""

    dataset: str
    teacher: str
    student: str
    methods: tuple[str, ...]


class Selector(TomlTable):
    """The cells that agree with every key that is given; a key takes one value or a list."""

    dataset: NameOrNames | None = Field(None, description="Data sets. Default: all")
    teacher: NameOrNames | None = Field(None, description="Teachers. Default: all")
    student: NameOrNames | None = Field(None, description="Students. Default: all")
    method: NameOrNames | None = Field(None, description="Labels or methods. Default: all")
    seed: SeedOrSeeds | None = Field(None, description="Seeds. Default: all")

    def matches(self, key: CellKey) -> bool:
        """Return whether a cell is selected, without regard to seeds."""
        return (
            (self.dataset is None or key.dataset in self.dataset)
            and (self.teacher is None or key.teacher in self.teacher)
            and (self.student is None or key.student in self.student)
            and (self.method is None or any(method in self.method for method in key.methods))
        )


class Exclude(Selector):
    """Cells that are left out; without `method` and `seed` the baselines of the pair are left out too."""

    why: Line = Field("", description="Reason, printed by `kdbench plan` and in reports")

    @property
    def is_pair_wide(self) -> bool:
        """Whether the rule leaves out a pair completely, baselines included."""
        return self.method is None and self.seed is None


class Override(TomlTable):
    """Values of `[recipe]` and `[methods.LABEL]` that differ in some cells."""

    when: Selector = Field(description="Cells that the override applies to; `seed` is not allowed")
    set: Annotated[dict[str, dict[str, Any]], MinLen(1)] = Field(
        description="Values, as `{ recipe.KEY = ..., methods.LABEL.KEY = ... }`"
    )

    @field_validator("when")
    @classmethod
    def _refuse_seed(cls, when: Selector) -> Selector:
        if when.seed is not None:
            raise ValueError("must not select by 'seed': an override applies to all seeds of a cell")
        return when

    @field_validator("set")
    @classmethod
    def _check_tables(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        wrong = sorted(set(value) - {"recipe", "methods"})
        if wrong:
            raise ValueError(f"must have the keys 'recipe' and 'methods' only, not '{wrong[0]}'")
        return value


class TableWithOptions(TomlTable):
    """A table whose unknown keys are options."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, allow_inf_nan=False)

    @property
    def options(self) -> dict[str, Any]:
        """The keys that are not in the schema."""
        return dict(self.model_extra or {})


class DatasetTable(TableWithOptions):
    """Your own data set, or options for a known one. Further keys are options of the kind."""

    kind: Name | None = Field(
        None, description="Kind of data set; `kdbench list datasets` prints all. Default: the name of the table"
    )


class NetworkTable(TableWithOptions):
    """Your own network, or a known one, and its initial weights. Further keys are arguments of `factory`."""

    factory: Name | None = Field(
        None, description="Callable that builds your own network, as `package.module:callable`; or give `architecture`"
    )
    architecture: Name | None = Field(
        None, description="Known network; `kdbench list networks` prints all; or give `factory`"
    )
    weights: Annotated[str, StringConstraints(min_length=1)] | None = Field(
        None, description="File of initial weights, or the folder of a finished run. Default: random weights"
    )
    pretrained: bool = Field(False, description="Start from the weights that the library of the network provides")

    @model_validator(mode="after")
    def _check_keys(self) -> "NetworkTable":
        if (self.factory is None) == (self.architecture is None):
            raise ValueError("must have either 'factory' (your own network) or 'architecture' (a known network)")
        if self.weights is not None and self.pretrained:
            raise ValueError("must have either 'weights' or 'pretrained', not both")
        if self.architecture is not None:
            _refuse_options(self.options)
        return self


def _refuse_options(options: Mapping[str, Any]) -> None:
    """Raise for unknown keys beside `architecture`: only a factory takes options."""
    unknown = [InitErrorDetails(type="extra_forbidden", loc=(key,), input=value) for key, value in options.items()]
    if unknown:
        raise ValidationError.from_exception_data(NetworkTable.__name__, unknown)


class RunOptions(TomlTable):
    """Devices, processes and time. These keys are not part of a run's identity."""

    devices: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description='Devices to train on; `"auto"`: the NVIDIA GPUs if there are any, else the CPU'
    )
    workers: Count | None = Field(
        None, description="Number of GPUs to use, or of processes on the CPU. Default: all GPUs, or cores / `threads`"
    )
    threads: Count | None = Field(
        None,
        description="CPU threads per worker. Fixed by the first run of a results folder, because numbers depend on it. "
        "Default: the number of the results folder, else 1",
    )
    runs_per_device: Count = Field(
        1, description="Workers per GPU; another starts only while enough GPU memory is free"
    )
    checkpoint_minutes: NonNegative = Field(5.0, description="Minutes between checkpoints; 0: one after every epoch")
    time_limit: Positive | None = Field(
        None,
        description="Minutes per run; a cohort of k runs has k times as many. After that the worker is killed and its "
        "runs are retried once. Default: no limit",
    )
    teacher_cache_gb: Annotated[NonNegative, Le(1e6)] = Field(
        2.0, description="Disk budget for cached teacher outputs, in GB (10^9 bytes); 0 disables the cache"
    )
    compile: bool = Field(False, description="Train with `torch.compile`, which needs a C++ compiler")
    cuda_graphs: bool = Field(False, description="Record training steps as CUDA graphs; has no effect on the CPU")


class MatrixSpec(TomlTable):
    """A matrix: every data set x pair x configuration of a method, with one run per seed."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=80)] = Field(
        description="Name of the matrix and of its reports: letters, digits, `.`, `_`, `-`. Default: the file's name"
    )
    seeds: Annotated[tuple[Seed, ...], Field(strict=False), MinLen(1)] = Field(
        (0,), description="Seeds; every cell has one run per seed"
    )
    datasets: Annotated[tuple[Name, ...], Field(strict=False), MinLen(1)] = Field(
        description="Data sets: known names or `[dataset.NAME]` tables"
    )
    pairs: Annotated[tuple[Pair, ...], Field(strict=False), MinLen(1)] = Field(
        description="Pairs, as `{ teacher = NAME, student = NAME }`"
    )
    recipe: dict[str, Any] = Field(
        default_factory=dict,
        description="How networks are trained; `recipe.teacher` and `recipe.student` refine it. For students a list "
        "in place of one value is swept, like a hyperparameter; `zip` lists keys that are swept together",
    )
    protocol: Protocol = Field(Protocol(), description="The split and the seeds of the teachers")
    methods: dict[Name, dict[str, Any]] = Field(
        default_factory=dict,
        description="A table per label. A label is a method's name, a sum of them (`a + b`), or any text with the key "
        "`method`. Other keys are hyperparameters: a list is swept, a scalar is fixed; `zip` lists keys that are swept "
        "together. `[methods.LABEL.recipe]` refines the recipe of the label's students",
    )
    dataset: dict[Name, DatasetTable] = Field(
        default_factory=dict, description="Your own data sets, or options for known ones"
    )
    network: dict[Name, NetworkTable] = Field(
        default_factory=dict, description="Your own networks, or known ones with initial weights"
    )
    exclude: Annotated[tuple[Exclude, ...], Field(strict=False)] = Field((), description="Cells that are left out")
    override: Annotated[tuple[Override, ...], Field(strict=False)] = Field(
        (), description="Values of `recipe` and `methods` that differ in some cells; later overrides win"
    )
    run: RunOptions = Field(RunOptions(), description="Devices, processes and time; not part of a run's identity")
    file: str = Field("", exclude=True, description="The file, for error messages; not a key of the file")

    @field_validator("methods")
    @classmethod
    def _refuse_baselines(cls, methods: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for label, table in methods.items():
            if label == "teacher" or label.startswith("teacher of ") or label == "student from scratch":
                raise ValueError(f"must not have the label '{label}', which is that of a baseline")
            if label == "scratch" and table.get("method", label) not in (label, [label]):
                raise ValueError(f"must not have the label 'scratch' for another method, got {table['method']!r}")
        return methods

    @field_validator("seeds", "datasets", "pairs")
    @classmethod
    def _refuse_duplicates(cls, values: tuple[object, ...]) -> tuple[object, ...]:
        return refuse_duplicates(values)
