"""A run, complete and typed, and its identity."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any, Literal, final

from kdbench.matrix.identity import canonical, digest
from kdbench.matrix.recipe import Recipe

Option = str | int | float | bool | None


@final
@dataclass(frozen=True)
class DataSpec:
    """A data set: its kind and options say how to read it; only its content enters a run's identity."""

    name: str
    kind: str
    options: Mapping[str, Option] = field(default_factory=dict, hash=False)
    fingerprint: str | None = None

    @cached_property
    def canonical(self) -> str:
        """The content's fingerprint; provisional (kind and options) where the data are not there."""
        if self.fingerprint:
            return canonical({"content": self.fingerprint})
        return canonical({"provisional": [self.kind, dict(self.options)]})


@final
@dataclass(frozen=True)
class NetworkSpec:
    """A network: a known architecture, or a user's own factory with the hash of its source; and where it starts.

    `start` identifies the content of `weights`, or the library's weights of a `pretrained` network.
    """

    name: str
    factory: str | None = None
    options: Mapping[str, Option] = field(default_factory=dict, hash=False)
    source: str | None = None
    architecture: str | None = None  # where the name is a label of the matrix
    weights: str | None = None  # a file, or the folder of a run
    pretrained: bool = False
    start: str | None = None

    @property
    def known_as(self) -> str:
        """The name of its architecture; the label, where it is a user's own."""
        return self.architecture or self.name

    @property
    def trained_before(self) -> bool:
        """Whether it starts from weights, not at random."""
        return self.weights is not None or self.pretrained

    def untrained(self) -> "NetworkSpec":
        """The same architecture with random weights."""
        return replace(self, weights=None, pretrained=False, start=None)

    @cached_property
    def canonical(self) -> str:
        """What enters a run's identity: never the label of a network, nor where its weights lie."""
        if self.factory is None:
            shown: dict[str, object] = {"network": self.known_as}
        else:
            shown = {"factory": self.factory, "options": dict(self.options), "source": self.source}
        if self.trained_before:
            shown["pretrained" if self.pretrained else "weights"] = self.start
        return canonical(shown)


@final
@dataclass(frozen=True, eq=False)
class Part:
    """One method of a run with its hyperparameters, as the matrix gives them or (after planning) complete."""

    name: str
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    version: int = 1
    source: str | None = None  # hash of the file of a user's own method

    @cached_property
    def canonical(self) -> str:
        """What enters a run's identity."""
        shown: dict[str, object] = {"hyperparameters": dict(self.hyperparameters), "name": self.name}
        if self.source is not None:
            shown["source"] = self.source
        return canonical({**shown, "version": self.version})


@final
@dataclass(frozen=True)
class Split:
    """Which images train, validate and test; and which teacher a student of a seed gets."""

    validation: float = 0.1
    split_seed: int = 0
    teacher_seed: int | Literal["paired"] = 0
    track_test: bool = False

    @cached_property
    def canonical(self) -> str:
        """What enters a run's identity; the teacher is in it by its own id."""
        return canonical({"validation": self.validation, "split_seed": self.split_seed, "track_test": self.track_test})


@final
@dataclass(frozen=True, eq=False)
class RunSpec:
    """One network to train. Two specs with one `id` are one run."""

    dataset: DataSpec
    student: NetworkSpec
    parts: tuple[Part, ...]  # one method, or the parts of a sum
    recipe: Recipe
    split: Split
    seed: int
    needs: tuple[tuple[str, "RunSpec"], ...] = ()  # the runs that must finish first, by role
    peers: tuple[NetworkSpec, ...] = ()

    @property
    def method(self) -> str:
        """The method's name, or the parts of a sum joined by " + "."""
        return " + ".join(part.name for part in self.parts)

    @property
    def teacher(self) -> "RunSpec | None":
        """The run whose network fills the role `teacher`."""
        return dict(self.needs).get("teacher")

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """All hyperparameters; those of a sum are prefixed by the part's name."""
        if len(self.parts) == 1:
            return dict(self.parts[0].hyperparameters)
        return {f"{part.name}.{key}": value for part in self.parts for key, value in part.hyperparameters.items()}

    @cached_property
    def id(self) -> str:
        """Sixteen hexadecimal digits that name the run and its folder."""
        needs = ",".join(f'"{role}":"{spec.id}"' for role, spec in self.needs)
        return digest(f'{self._common}"needs":{{{needs}}},"seed":{self.seed}}}')

    @cached_property
    def cell(self) -> str:
        """The same for all seeds of a run."""
        needs = ",".join(f'"{role}":"{spec.cell}"' for role, spec in self.needs)
        policy = canonical(self.split.teacher_seed if self.needs else None)
        return digest(f'{self._common}"needs":{{{needs}}},"teacher_seed":{policy}}}')

    @property
    def _common(self) -> str:
        parts = ",".join(part.canonical for part in self.parts)
        peers = ",".join(peer.canonical for peer in self.peers)
        return (
            f'{{"dataset":{self.dataset.canonical},"student":{self.student.canonical},"parts":[{parts}],'
            f'"recipe":{self.recipe.canonical},"split":{self.split.canonical},"peers":[{peers}],'
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data from which `from_json` makes an equal spec."""
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
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "RunSpec":
        """The spec that `to_json` wrote."""
        return RunSpec(
            dataset=DataSpec(**data["dataset"]),
            student=NetworkSpec(**data["student"]),
            parts=tuple(Part(**part) for part in data["parts"]),
            recipe=_recipe(canonical(data["recipe"])),
            split=Split(**data["split"]),
            seed=data["seed"],
            needs=tuple((role, _need(canonical(spec))) for role, spec in data["needs"].items()),
            peers=tuple(NetworkSpec(**peer) for peer in data["peers"]),
        )

    def scratch(self) -> "RunSpec":
        """The same network, data, recipe and seed, trained without a teacher."""
        return replace(self, parts=(Part("scratch"),), needs=(), peers=())


@lru_cache(64)
def _recipe(told: str) -> Recipe:
    """A recipe by its JSON: thousands of runs share one, and it is checked and hashed once."""
    return Recipe.model_validate(json.loads(told))


@lru_cache(64)
def _need(told: str) -> RunSpec:
    """A run that others need, by its JSON: the same."""
    return RunSpec.from_json(json.loads(told))
