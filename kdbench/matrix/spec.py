"""The complete specification of a run, and its identity."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache, cached_property, lru_cache
from typing import Any, Literal, TypeVar, final

from pydantic import TypeAdapter

from kdbench.matrix.identity import canonical, digest
from kdbench.matrix.recipe import Recipe
from kdbench.numerics import NUMERICS

Option = str | int | float | bool | None
T = TypeVar("T")


@final
@dataclass(frozen=True)
class DataSpec:
    """A data set. Its kind and options define how to read it; only its content is part of a run's identity."""

    name: str
    kind: str
    options: Mapping[str, Option] = field(default_factory=dict, hash=False)
    fingerprint: str | None = None

    @cached_property
    def canonical(self) -> str:
        """The content's fingerprint; provisional (kind and options) if the data are missing."""
        if self.fingerprint:
            return canonical({"content": self.fingerprint})
        return canonical({"provisional": [self.kind, dict(self.options)]})


@final
@dataclass(frozen=True)
class NetworkSpec:
    """A known architecture or the user's own factory, and the initial weights.

    `source` is the hash of the factory's source and of the own modules that it imports. `start` identifies the content
    of `weights`, or the library's weights of a `pretrained` network.
    """

    name: str
    factory: str | None = None
    options: Mapping[str, Option] = field(default_factory=dict, hash=False)
    source: str | None = None
    architecture: str | None = None  # if the name is that of a [network.NAME] table
    weights: str | None = None  # a file, or the folder of a run
    pretrained: bool = False
    start: str | None = None

    @property
    def known_as(self) -> str:
        """The name of the architecture; the name in the matrix if the user's own factory builds it."""
        return self.architecture or self.name

    @property
    def has_initial_weights(self) -> bool:
        """Whether it has initial weights that are not random."""
        return self.weights is not None or self.pretrained

    def untrained(self) -> "NetworkSpec":
        """Return the same architecture with random weights."""
        return replace(self, weights=None, pretrained=False, start=None)

    @cached_property
    def canonical(self) -> str:
        """The JSON that enters a run's identity, without the network's name and the path of its weights."""
        if self.factory is None:
            shown: dict[str, object] = {"network": self.known_as}
        else:
            shown = {"factory": self.factory, "options": dict(self.options), "source": self.source}
        if self.has_initial_weights:
            shown["pretrained" if self.pretrained else "weights"] = self.start
        return canonical(shown)


@final
@dataclass(frozen=True, eq=False)
class Part:
    """A method of a run with its hyperparameters, complete after planning."""

    name: str
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    version: int = 1
    source: str | None = None  # hash of the source of the user's own method

    @cached_property
    def canonical(self) -> str:
        """The JSON that enters a run's identity."""
        shown: dict[str, object] = {"hyperparameters": dict(self.hyperparameters), "name": self.name}
        if self.source is not None:
            shown["source"] = self.source
        return canonical({**shown, "version": self.version})


@final
@dataclass(frozen=True)
class Split:
    """The split of the training images, and which teacher each student has."""

    validation: float = 0.1
    split_seed: int = 0
    teacher_seed: int | Literal["paired"] = 0
    track_test: bool = False
    is_paired: bool = False  # each seed has its own split

    @cached_property
    def canonical(self) -> str:
        """The JSON that enters a run's identity; the teacher is part of it by its own id."""
        return self._canonical(self.split_seed)

    @cached_property
    def of_cell(self) -> str:
        """The JSON that enters the id of a cell, whose runs may have a split each."""
        return self._canonical("paired" if self.is_paired else self.split_seed)

    def _canonical(self, split_seed: int | str) -> str:
        return canonical({"validation": self.validation, "split_seed": split_seed, "track_test": self.track_test})


@final
@dataclass(frozen=True, eq=False)
class RunSpec:
    """A training run. Two specs with the same `id` are the same run.

    `numerics` is the `NUMERICS` of the code that planned it.
    `stream` selects the random numbers of a seed: teachers of a matrix have other initial weights and batches than its
    students, also where network, recipe and seed are equal.
    """

    dataset: DataSpec
    student: NetworkSpec
    parts: tuple[Part, ...]  # one method, or the methods of a sum
    recipe: Recipe
    split: Split
    seed: int
    needs: tuple[tuple[str, "RunSpec"], ...] = ()  # the runs that must finish first, by role
    peers: tuple[NetworkSpec, ...] = ()
    numerics: int = NUMERICS
    stream: Literal["student", "teacher"] = "student"

    @property
    def stream_seed(self) -> int:
        """The seed of everything that is random in the run: initial weights, batches, augmentations, the method."""
        return self.seed if self.stream == "student" else int(digest(f"{self.stream} {self.seed}"), 16) >> 1

    @property
    def method(self) -> str:
        """The method's name, or the methods of a sum joined by " + "."""
        return " + ".join(part.name for part in self.parts)

    @property
    def teacher(self) -> "RunSpec | None":
        """The run whose network has the role `teacher`."""
        return dict(self.needs).get("teacher")

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """All hyperparameters; those of a sum are prefixed by the method's name."""
        if len(self.parts) == 1:
            return dict(self.parts[0].hyperparameters)
        return {f"{part.name}.{key}": value for part in self.parts for key, value in part.hyperparameters.items()}

    @cached_property
    def id(self) -> str:
        """The id of the run and the name of its folder: 16 hexadecimal digits."""
        needs = ",".join(f'"{role}":"{spec.id}"' for role, spec in self.needs)
        return digest(f'{self._common(self.split.canonical)}"needs":{{{needs}}},"seed":{self.seed}}}')

    @cached_property
    def cell(self) -> str:
        """The id of the cell: of the run without its seed."""
        needs = ",".join(f'"{role}":"{spec.cell}"' for role, spec in self.needs)
        policy = canonical(self.split.teacher_seed if self.needs else None)
        return digest(f'{self._common(self.split.of_cell)}"needs":{{{needs}}},"teacher_seed":{policy}}}')

    def _common(self, split: str) -> str:
        parts = ",".join(part.canonical for part in self.parts)
        peers = ",".join(peer.canonical for peer in self.peers)
        return (
            f'{{"dataset":{self.dataset.canonical},"student":{self.student.canonical},"parts":[{parts}],'
            f'"recipe":{self.recipe.canonical},"split":{split},"peers":[{peers}],'
            f'"numerics":{self.numerics},'
            f'"stream":"{self.stream}",'
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain data for `from_json`."""
        return {
            "id": self.id,
            "cell": self.cell,
            "dataset": asdict(self.dataset),
            "student": asdict(self.student),
            "parts": [asdict(part) for part in self.parts],
            "recipe": self.recipe.model_dump(mode="json"),
            "split": asdict(self.split),
            "seed": self.seed,
            "needs": {role: spec.to_json() for role, spec in self.needs},
            "peers": [asdict(peer) for peer in self.peers],
            "numerics": self.numerics,
            "stream": self.stream,
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "RunSpec":
        """Return the spec that `to_json` converted.

        Raises:
            ValueError: the data have another structure.
        """
        try:
            return _from_json(data)
        except (AttributeError, LookupError, RecursionError, TypeError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from None

    def scratch(self) -> "RunSpec":
        """Return the run with the same network, data, recipe and seed, but without a teacher."""
        return replace(self, parts=(Part("scratch"),), needs=(), peers=())


def _from_json(data: Mapping[str, Any]) -> RunSpec:
    return RunSpec(
        dataset=_typed(DataSpec, data["dataset"]),
        student=_typed(NetworkSpec, data["student"]),
        parts=tuple(_typed(Part, part) for part in data["parts"]),
        recipe=_recipe(canonical(data["recipe"])),
        split=_typed(Split, data["split"]),
        seed=_whole(data["seed"]),
        needs=tuple((role, _need(canonical(spec))) for role, spec in data["needs"].items()),
        peers=tuple(_typed(NetworkSpec, peer) for peer in data["peers"]),
        numerics=_whole(data["numerics"]),
        stream=data["stream"],
    )


def _typed(kind: type[T], data: Mapping[str, Any]) -> T:
    """Return a part of a spec, unconverted, because a conversion would change the run's id."""
    _adapter(kind.__name__).validate_python(data)
    return kind(**data)


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise ValueError(f"must be an integer from 0 to 2^63 - 1, got {value!r}")
    return value


@cache
def _adapter(kind: str) -> TypeAdapter[Any]:
    return TypeAdapter({one.__name__: one for one in (DataSpec, NetworkSpec, Part, Split)}[kind])


@lru_cache(64)
def _recipe(text: str) -> Recipe:
    """Return the recipe of a JSON text. Cached, because thousands of runs share a recipe."""
    return Recipe.model_validate(json.loads(text))


@lru_cache(64)
def _need(text: str) -> RunSpec:
    """Return the run of a JSON text. Cached, because many runs share a teacher."""
    return RunSpec.from_json(json.loads(text))
