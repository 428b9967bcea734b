"""Expansion of a matrix to cells: every data set x pair x configuration, each with one run per seed."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, final

from kdbench.errors import MatrixError
from kdbench.matrix.recipe import Recipe
from kdbench.matrix.resolve import Registry, Resolver
from kdbench.matrix.schema import CellKey, MatrixSpec, Pair
from kdbench.matrix.spec import DataSpec, Part, RunSpec, Split

EVERYTHING = "everything"  # the label of an excluded pair, baselines included


@final
@dataclass(frozen=True, eq=False)
class Cell:
    """A configuration of a method, or a baseline, on a data set and a pair: one run per seed.

    `teachers` has the teacher of each seed, whether the runs read it or not: that of the pair, or the label's own.
    """

    kind: Literal["teacher", "scratch", "method"]
    label: str
    dataset: DataSpec
    pair: Pair
    runs: Mapping[int, RunSpec]
    teachers: Mapping[int, RunSpec] = field(default_factory=dict)

    @property
    def first(self) -> RunSpec:
        """The run of the first seed."""
        return next(iter(self.runs.values()))


@final
@dataclass(frozen=True)
class Excluded:
    """Seeds of a label that an `[[exclude]]` matches on a data set and a pair."""

    label: str
    dataset: str
    pair: Pair
    seeds: tuple[int, ...]
    why: str


@final
@dataclass(frozen=True)
class Expansion:
    """The cells, the excluded ones, and warnings of keys without effect."""

    cells: tuple[Cell, ...]
    excluded: tuple[Excluded, ...]
    warnings: tuple[str, ...]


def expand(matrix: MatrixSpec, registry: Registry) -> Expansion:
    """Return every cell of a matrix; the two baselines are the first cells of each pair.

    Raises:
        MatrixError: a name is unknown, or a value is invalid; the error names the key.
    """
    expander = _Expander(matrix, Resolver(matrix, registry))
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
        for data in [self.resolver.dataset(name) for name in self.matrix.datasets]:
            for pair in self.matrix.pairs:
                if not self._is_excluded(data, pair):
                    yield from self._pair_cells(data, pair)

    def _pair_cells(self, data: DataSpec, pair: Pair) -> Iterator[Cell]:
        teachers = self._teachers(data, pair, CellKey(data.name, pair.teacher, pair.student, ()))
        yield Cell("teacher", "teacher", data, pair, teachers)
        yield self._baseline(data, pair, teachers)
        for label in self.matrix.methods:
            yield from self._label_cells(data, pair, label, teachers)

    def _is_excluded(self, data: DataSpec, pair: Pair) -> bool:
        """Return whether an `[[exclude]]` leaves out a pair on a data set, baselines included."""
        key = CellKey(data.name, pair.teacher, pair.student, ())
        rules = [i for i, rule in enumerate(self.matrix.exclude) if rule.is_pair_wide and rule.matches(key)]
        self.used_excludes.update(rules)
        if rules:
            why = self.matrix.exclude[rules[0]].why
            self.excluded.append(Excluded(EVERYTHING, data.name, pair, self.matrix.seeds, why))
        return bool(rules)

    def warnings(self) -> list[str]:
        """Return warnings of tables and rules that have no effect; call it after `cells`."""
        excludes = [f"exclude[{i}]" for i in range(len(self.matrix.exclude)) if i not in self.used_excludes]
        unused = [*self._unused_tables(), *excludes, *self.resolver.unused_overrides()]
        return [f"{self.matrix.file}: {key}: has no effect" for key in unused]

    def _unused_tables(self) -> list[str]:
        """Return the keys of data sets and networks that the matrix does not use."""
        networks = {name for pair in self.matrix.pairs for name in (pair.teacher, pair.student, *pair.peers)}
        return [
            *(f"dataset.{name}" for name in self.matrix.dataset if name not in self.matrix.datasets),
            *(f"network.{name}" for name in self.matrix.network if name not in networks),
        ]

    def _baseline(self, data: DataSpec, pair: Pair, teachers: Mapping[int, RunSpec]) -> Cell:
        """Return the student trained from scratch, without hyperparameters: what gains are measured from."""
        recipe = self.resolver.recipe("student", CellKey(data.name, pair.teacher, pair.student, ("scratch",)))
        runs = {seed: self._scratch(data, pair.student, recipe, seed) for seed in self.matrix.seeds}
        return Cell("scratch", "scratch", data, pair, runs, _by_seed(runs, teachers))

    def _teachers(self, data: DataSpec, pair: Pair, key: CellKey) -> dict[int, RunSpec]:
        recipe = self.resolver.recipe("teacher", key)
        seed = self.split.teacher_seed
        return {
            s: self._scratch(data, pair.teacher, recipe, s)
            for s in (self.matrix.seeds if seed == "paired" else (seed,))
        }

    def _scratch(self, data: DataSpec, network: str, recipe: Recipe, seed: int) -> RunSpec:
        student = self.resolver.network(network)
        return self._check_epochs(RunSpec(data, student, (self.resolver.scratch,), recipe, self.split, seed))

    def _check_epochs(self, spec: RunSpec) -> RunSpec:
        """Return the run; raise if it has 0 epochs, but a method that trains, or random weights."""
        if spec.recipe.epochs:
            return spec
        where = (
            f"{self.matrix.file}: recipe.epochs: must be at least 1 for '{spec.student.name}' on {spec.dataset.name}"
        )
        if spec.method != self.resolver.scratch.name:
            raise MatrixError(f"{where}, which '{spec.method}' trains, got 0; set epochs = 0 in [recipe.teacher] only")
        if not spec.student.has_initial_weights:
            raise MatrixError(
                f"{where}, whose initial weights are random, got 0; give at least 1 epoch, or use a [network.NAME] "
                "with 'weights' or 'pretrained'"
            )
        return spec

    def _label_cells(self, data: DataSpec, pair: Pair, label: str, shared: Mapping[int, RunSpec]) -> Iterator[Cell]:
        """Yield the teacher that a label has for itself, if its runs read one, and the cells of the label."""
        key = CellKey(data.name, pair.teacher, pair.student, self.resolver.methods(label))
        configurations = [
            parts
            for parts in self.resolver.configurations(label, key)
            if not (label == "scratch" and _is_plain(parts, self.resolver.scratch))
        ]
        seeds = self._seeds(label, pair, key) if configurations else []
        if not seeds:
            return
        own = self._teachers(data, pair, key) if self.resolver.overrides_teacher(key) else shared
        recipe = self.resolver.recipe("student", key)
        runs = [self._runs(data, pair, seeds, recipe, parts, own) for parts in configurations]
        is_read = _ids(own.values()) & _ids(need for one in runs for run in one.values() for _, need in run.needs)
        if is_read and _ids(own.values()) != _ids(shared.values()):
            yield Cell("teacher", f"teacher of {label}", data, pair, own)
        for one in runs:
            yield Cell("method", label, data, pair, one, _by_seed(one, own if is_read else shared))

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
        return {
            seed: self.resolver.with_dependencies(
                self._check_epochs(RunSpec(data, student, parts, recipe, self.split, seed)), teacher, peers
            )
            for seed, teacher in _by_seed(seeds, teachers).items()
        }

    def _seeds(self, label: str, pair: Pair, key: CellKey) -> list[int]:
        """Return the seeds of a label that no `[[exclude]]` matches."""
        excluded: set[int] = set()
        for i, rule in enumerate(self.matrix.exclude):
            matching = tuple(s for s in self.matrix.seeds if rule.matches(key) and s in (rule.seed or (s,)))
            if matching:
                self.used_excludes.add(i)
                self.excluded.append(Excluded(label, key.dataset, pair, matching, rule.why))
                excluded.update(matching)
        return [seed for seed in self.matrix.seeds if seed not in excluded]


def _is_plain(parts: tuple[Part, ...], scratch: Part) -> bool:
    """Return whether a configuration of the label "scratch" is the baseline itself."""
    return [part.canonical for part in parts] == [scratch.canonical]


def _by_seed(seeds: Iterable[int], teachers: Mapping[int, RunSpec]) -> dict[int, RunSpec]:
    """Return the teacher of each seed: its own, or the one that all share."""
    shared = next(iter(teachers.values()))
    return {seed: teachers.get(seed, shared) for seed in seeds}


def _ids(runs: Iterable[RunSpec]) -> set[str]:
    return {run.id for run in runs}
