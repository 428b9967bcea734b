"""A matrix to its cells: every data set x pair x configuration, each with one run per seed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, final

from kdbench.errors import MatrixError
from kdbench.matrix.recipe import Recipe
from kdbench.matrix.resolve import Catalog, Resolver
from kdbench.matrix.schema import CellKey, MatrixSpec, Pair
from kdbench.matrix.spec import DataSpec, Part, RunSpec, Split

EVERYTHING = "everything"  # the label of what is left out where a pair is, baselines included


@final
@dataclass(frozen=True, eq=False)
class Cell:
    """One configuration of a method, or a baseline, on a data set and a pair: a run per seed."""

    kind: Literal["teacher", "scratch", "method"]
    label: str
    dataset: DataSpec
    pair: Pair
    runs: Mapping[int, RunSpec]


@final
@dataclass(frozen=True)
class Excluded:
    """Seeds of a label that an `[[exclude]]` leaves out on a data set and a pair."""

    label: str
    dataset: str
    pair: Pair
    seeds: tuple[int, ...]
    why: str


@final
@dataclass(frozen=True)
class Expansion:
    """The cells, those that the matrix leaves out, and what in it had no effect."""

    cells: tuple[Cell, ...]
    excluded: tuple[Excluded, ...]
    warnings: tuple[str, ...]


def expand(matrix: MatrixSpec, catalog: Catalog) -> Expansion:
    """Every cell of a matrix; the two baselines come first in each pair.

    Raises:
        MatrixError: a name is unknown, or a value breaks its rule; the key is named.
    """
    expander = _Expander(matrix, Resolver(matrix, catalog))
    cells = tuple(expander.cells())
    return Expansion(cells, tuple(expander.excluded), tuple(expander.warnings()))


@final
class _Expander:
    def __init__(self, matrix: MatrixSpec, resolver: Resolver) -> None:
        self.matrix = matrix
        self.resolver = resolver
        protocol = matrix.protocol
        self.split = Split(protocol.validation, protocol.split_seed, protocol.teacher_seed, protocol.track_test)
        self.used_excludes: set[int] = set()
        self.excluded: list[Excluded] = []

    def cells(self) -> Iterator[Cell]:
        for data in [self.resolver.data(name) for name in self.matrix.datasets]:
            for pair in self.matrix.pairs:
                if not self._is_out(data, pair):
                    yield from self._pair(data, pair)

    def _pair(self, data: DataSpec, pair: Pair) -> Iterator[Cell]:
        yield from self._baselines(data, pair)
        for label in self.matrix.methods:
            yield from self._label(data, pair, label)

    def _is_out(self, data: DataSpec, pair: Pair) -> bool:
        """Whether an `[[exclude]]` leaves nothing of a pair on a data set."""
        key = CellKey(data.name, pair.teacher, pair.student, ())
        rules = [i for i, rule in enumerate(self.matrix.exclude) if rule.is_pair_wide and rule.matches(key)]
        self.used_excludes.update(rules)
        if rules:
            why = self.matrix.exclude[rules[0]].why
            self.excluded.append(Excluded(EVERYTHING, data.name, pair, self.matrix.seeds, why))
        return bool(rules)

    def warnings(self) -> list[str]:
        excludes = [f"exclude[{i}]" for i in range(len(self.matrix.exclude)) if i not in self.used_excludes]
        unused = [*self._unnamed(), *excludes, *self.resolver.unused()]
        return [f"{self.matrix.file}: {key}: matches nothing" for key in unused]

    def _unnamed(self) -> list[str]:
        """The tables of data sets and networks that the matrix does not use."""
        networks = {name for pair in self.matrix.pairs for name in (pair.teacher, pair.student, *pair.peers)}
        return [
            *(f"dataset.{name}" for name in self.matrix.dataset if name not in self.matrix.datasets),
            *(f"network.{name}" for name in self.matrix.network if name not in networks),
        ]

    def _baselines(self, data: DataSpec, pair: Pair) -> Iterator[Cell]:
        teacher_key = CellKey(data.name, pair.teacher, pair.student, ())
        yield Cell("teacher", "teacher", data, pair, self._teachers(data, pair, teacher_key))
        student_key = CellKey(data.name, pair.teacher, pair.student, ("scratch",))
        recipe = self.resolver.recipe("student", student_key)
        runs = {seed: self._scratch(data, pair.student, recipe, seed) for seed in self.matrix.seeds}
        yield Cell("scratch", "scratch", data, pair, runs)

    def _teachers(self, data: DataSpec, pair: Pair, key: CellKey) -> dict[int, RunSpec]:
        recipe = self.resolver.recipe("teacher", key)
        seed = self.split.teacher_seed
        return {
            s: self._scratch(data, pair.teacher, recipe, s)
            for s in (self.matrix.seeds if seed == "paired" else (seed,))
        }

    def _scratch(self, data: DataSpec, network: str, recipe: Recipe, seed: int) -> RunSpec:
        student = self.resolver.network(network)
        return self._trainable(RunSpec(data, student, (self.resolver.scratch,), recipe, self.split, seed))

    def _trainable(self, spec: RunSpec) -> RunSpec:
        """The run itself; one of 0 epochs scores weights that must come from elsewhere, and does nothing else."""
        if spec.recipe.epochs:
            return spec
        where = f"{self.matrix.file}: recipe.epochs: is 0 for '{spec.student.name}' on {spec.dataset.name}"
        if spec.method != self.resolver.scratch.name:
            raise MatrixError(
                f"{where}, so nothing is trained, but '{spec.method}' trains it; "
                "give the student at least 1 epoch, and 0 in [recipe.teacher] alone"
            )
        if not spec.student.trained_before:
            raise MatrixError(
                f"{where}, so nothing is trained, and its weights are random; give at least 1 epoch, or name a "
                "[network.NAME] with 'weights' or 'pretrained' in the pair"
            )
        return spec

    def _label(self, data: DataSpec, pair: Pair, label: str) -> Iterator[Cell]:
        key = CellKey(data.name, pair.teacher, pair.student, self.resolver.methods(label))
        own = self.resolver.overrides_teacher(key)
        teacher_key = key if own else CellKey(data.name, pair.teacher, pair.student, ())
        teachers = self._teachers(data, pair, teacher_key)
        recipe = self.resolver.recipe("student", key)
        configurations = [
            parts
            for parts in self.resolver.configurations(label, key)
            if not (label == "scratch" and _is_plain(parts, self.resolver.scratch))
        ]
        seeds = self._seeds(label, pair, key) if configurations else []
        for parts in configurations if seeds else []:
            runs = self._runs(data, pair, seeds, recipe, parts, teachers)
            yield Cell("scratch" if label == "scratch" else "method", label, data, pair, runs)

    def _runs(
        self,
        data: DataSpec,
        pair: Pair,
        seeds: Sequence[int],
        recipe: Recipe,
        parts: tuple[Part, ...],
        teachers: Mapping[int, RunSpec],
    ) -> dict[int, RunSpec]:
        student, peers = self.resolver.network(pair.student), tuple(map(self.resolver.network, pair.peers))
        shared = next(iter(teachers.values()))
        return {
            seed: self.resolver.with_dependencies(
                self._trainable(RunSpec(data, student, parts, recipe, self.split, seed)),
                teachers.get(seed, shared),
                peers,
            )
            for seed in seeds
        }

    def _seeds(self, label: str, pair: Pair, key: CellKey) -> list[int]:
        """The seeds that no `[[exclude]]` leaves out at a key."""
        gone: set[int] = set()
        for i, rule in enumerate(self.matrix.exclude):
            left_out = tuple(s for s in self.matrix.seeds if rule.matches(key) and s in (rule.seed or (s,)))
            if left_out:
                self.used_excludes.add(i)
                self.excluded.append(Excluded(label, key.dataset, pair, left_out, rule.why))
                gone.update(left_out)
        return [seed for seed in self.matrix.seeds if seed not in gone]


def _is_plain(parts: tuple[Part, ...], scratch: Part) -> bool:
    """Whether a configuration of the label "scratch" is the baseline itself."""
    return [part.canonical for part in parts] == [scratch.canonical]
