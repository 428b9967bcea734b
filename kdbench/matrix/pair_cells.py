"""The cells of one data set and pair."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import final

from kdbench.errors import MatrixError
from kdbench.matrix.cells import Cell, Kind, PhaseName, Sweep, every_cell
from kdbench.matrix.exclusions import Exclusions
from kdbench.matrix.phases import Phase
from kdbench.matrix.resolve import Configuration, Resolver
from kdbench.matrix.schema import CellKey, MatrixSpec, Pair
from kdbench.matrix.spec import DataSpec, RunSpec

Runs = Mapping[int, RunSpec]  # by seed
Teachers = Mapping[PhaseName, Runs]
Seeds = Mapping[PhaseName, Sequence[int]]


@final
class PairExpander:
    """Expands the labels of a matrix on one data set and pair; the baselines come first."""

    def __init__(
        self,
        matrix: MatrixSpec,
        resolver: Resolver,
        exclusions: Exclusions,
        place: tuple[DataSpec, Pair],
        report: Phase,
        search: Phase | None,
    ) -> None:
        self._matrix = matrix
        self._resolver = resolver
        self._exclusions = exclusions
        self._data, self._pair = place
        self._report, self._search = report, search
        self._phases = (report,) if search is None else (report, search)
        self._seeds: Seeds = {phase.name: phase.seeds for phase in self._phases}
        self._shared = self._teachers(self._key(()), self._seeds)

    def items(self) -> Iterator[Cell | Sweep]:
        """Yield the teacher, the student from scratch, and the labels in the order of the matrix."""
        found = list(self._baseline())
        for label in self._matrix.methods:
            found += self._label(label)
        yield from self._teacher_cells("teacher", self._shared, found)
        yield from found

    def _key(self, methods: tuple[str, ...]) -> CellKey:
        return CellKey(self._data.name, self._pair.teacher, self._pair.student, methods)

    def _baseline(self) -> Iterator[Cell | Sweep]:
        """Yield the student from scratch, without hyperparameters: what gains are measured from."""
        configurations = self._resolver.baseline(self._key(("scratch",)))
        yield from self._cells("scratch", "scratch", configurations, self._seeds, self._shared)

    def _label(self, label: str) -> Iterator[Cell | Sweep]:
        """Yield the teacher that a label has for itself, if its runs read one, and the cells of the label."""
        key = self._key(self._resolver.methods(label))
        configurations = self._resolver.configurations(label, key)
        if label == "scratch":
            plain = {one.canonical for one in self._resolver.baseline(self._key(("scratch",)))}
            configurations = tuple(one for one in configurations if one.canonical not in plain)
        seeds = self._seeds_of(label, key, is_searched=len(configurations) > 1) if configurations else {}
        if not seeds.get("report"):
            return
        own = self._teachers(key, seeds) if self._resolver.overrides_teacher(key) else self._shared
        cells = list(self._cells("method", label, configurations, seeds, own))
        if not _ids(own["report"].values()) <= _ids(self._shared["report"].values()):
            yield from self._teacher_cells(f"teacher of {label}", own, cells)
        yield from cells

    def _seeds_of(self, label: str, key: CellKey, is_searched: bool) -> Seeds:
        """Return the seeds of a label in each phase that no `[[exclude]]` matches."""
        phases = self._phases if is_searched else (self._report,)
        every = [seed for phase in reversed(phases) for seed in phase.seeds]
        left = self._exclusions.left(label, self._pair, key, every)
        seeds: Seeds = {phase.name: [seed for seed in phase.seeds if seed in left] for phase in phases}
        if seeds["report"] and seeds.get("search") == []:
            raise MatrixError(
                f"{self._matrix.file}: exclude: leaves no search seed to choose the configuration of '{label}' on; "
                "exclude its other seeds too, or fewer search seeds"
            )
        return seeds

    def _cells(
        self,
        kind: Kind,
        label: str,
        configurations: Sequence[Configuration],
        seeds: Seeds,
        teachers: Teachers,
    ) -> Iterator[Cell | Sweep]:
        """Yield a cell per configuration; a sweep if one of them is to be chosen on the search seeds."""

        def cell(phase: Phase, configuration: Configuration) -> Cell:
            known = teachers[phase.name]
            runs = {s: self._run(phase, s, configuration, t) for s, t in _by_seed(seeds[phase.name], known).items()}
            shown = _by_seed(runs, self._shown_teachers(phase.name, runs, known))
            return Cell(kind, label, self._data, self._pair, runs, shown, phase.name, configuration.swept)

        if self._search is None or len(configurations) == 1:
            yield from (cell(self._report, one) for one in configurations)
        else:
            yield Sweep(tuple((cell(self._search, one), cell(self._report, one)) for one in configurations))

    def _run(self, phase: Phase, seed: int, configuration: Configuration, teacher: RunSpec) -> RunSpec:
        network, peers = self._resolver.network, self._pair.peers
        student = network(self._pair.student)
        spec = RunSpec(self._data, student, configuration.parts, configuration.recipe, phase.split(seed), seed)
        return self._resolver.with_dependencies(self._check_epochs(spec), teacher, tuple(map(network, peers)))

    def _shown_teachers(self, phase: PhaseName, runs: Runs, teachers: Runs) -> Runs:
        """Return the teachers that a cell is compared with: those that it reads, else those of the pair.

        In the search, the pair's teachers are trained only if a label reads them, or if they are those of the report.
        """
        if _reads(runs.values(), teachers):
            return teachers
        shared = self._shared[phase]
        is_trained = _ids(shared.values()) <= _ids(self._shared["report"].values())
        return shared if is_trained else {}

    def _teachers(self, key: CellKey, seeds: Seeds) -> Teachers:
        recipe = self._resolver.teacher_recipe(key)
        network, plain = self._resolver.network(self._pair.teacher), (self._resolver.scratch,)

        def teacher(phase: Phase, seed: int) -> RunSpec:
            spec = RunSpec(self._data, network, plain, recipe, phase.split(seed), seed, stream="teacher")
            return self._check_epochs(spec)

        return {
            phase.name: {seed: teacher(phase, seed) for seed in phase.teacher_seeds(seeds[phase.name])}
            for phase in self._phases
            if phase.name in seeds
        }

    def _teacher_cells(self, label: str, teachers: Teachers, readers: Sequence[Cell | Sweep]) -> Iterator[Cell]:
        """Yield the teachers of each phase: that of the pair in the report, and others if a run reads them."""
        for phase, runs in teachers.items():
            is_new = phase == "report" or not _ids(runs.values()) <= _ids(teachers["report"].values())
            is_always_trained = label == "teacher" and phase == "report"
            if is_always_trained or (is_new and _reads(_runs(readers, phase), runs)):
                yield Cell("teacher", label, self._data, self._pair, runs, phase=phase)

    def _check_epochs(self, spec: RunSpec) -> RunSpec:
        """Return the run; raise if it has 0 epochs, but a method that trains, or random weights."""
        if spec.recipe.epochs:
            return spec
        where = (
            f"{self._matrix.file}: recipe.epochs: must be at least 1 for '{spec.student.name}' on {spec.dataset.name}"
        )
        if spec.method != self._resolver.scratch.name:
            raise MatrixError(f"{where}, which '{spec.method}' trains, got 0; set epochs = 0 in [recipe.teacher] only")
        if not spec.student.has_initial_weights:
            raise MatrixError(
                f"{where}, whose initial weights are random, got 0; give at least 1 epoch, or use a [network.NAME] "
                "with 'weights' or 'pretrained'"
            )
        return spec


def _by_seed(seeds: Iterable[int], teachers: Runs) -> dict[int, RunSpec]:
    """Return the teacher of each seed: its own, or the one that all share; empty without teachers."""
    if not teachers:
        return {}
    shared = next(iter(teachers.values()))
    return {seed: teachers.get(seed, shared) for seed in seeds}


def _runs(items: Iterable[Cell | Sweep], phase: PhaseName) -> Iterator[RunSpec]:
    """Yield the runs of a phase; those of every configuration that may be chosen."""
    for cell in every_cell(items):
        if cell.phase == phase:
            yield from cell.runs.values()


def _reads(runs: Iterable[RunSpec], teachers: Runs) -> bool:
    """Return whether any run needs one of the teachers."""
    known = _ids(teachers.values())
    return any(need.id in known for run in runs for _, need in run.needs)


def _ids(runs: Iterable[RunSpec]) -> set[str]:
    return {run.id for run in runs}
