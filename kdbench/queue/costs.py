"""How long epochs take: measured in earlier epochs on the same processor, or estimated from the operations."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import final

from kdbench.errors import ResultsError, StorageError
from kdbench.events import EpochEnded, RunMeasured
from kdbench.matrix import RunSpec
from kdbench.matrix.identity import canonical, digest
from kdbench.results import Store
from kdbench.results.files import read_json, write_json

NAME = "epoch_times.json"
WEIGHT = 0.5  # of a new measurement in the running mean
OPERATIONS_PER_SECOND = {"cpu": 3e10, "cuda": 3e12}  # before anything was measured
SECONDS_PER_STEP = 1e-3  # what a step of the smallest network takes
TIMING_SECONDS = 3.0  # to time the inference of a network
START_SECONDS = 2.0  # from the submission of a job to the start of its first epoch


@final
@dataclass(frozen=True)
class EpochWork:
    """The work of an epoch of a run: operations of its own networks and of its teacher, and steps."""

    own: float = 0.0
    shared: float = 0.0
    steps: int = 1


@final
@dataclass(frozen=True)
class RunCost:
    """The seconds of an epoch of a run, own and shared with its cohort, and of its end, when it is scored."""

    own: float
    shared: float
    end: float = 0.0


@final
class CostModel:
    """The seconds of an epoch of each run, from the epochs that ended so far.

    Runs with the same networks, method, data and batches count as equal, whatever their hyperparameters. A run without
    a measurement takes as long per operation as those with one: with the same network if there are any.

    Args:
        store: the results folder, which keeps the measurements.
        environment: names the processor and the threads; the measurements of different environments are kept apart.
        device: "cpu" or "cuda".
    """

    def __init__(self, store: Store, environment: str, device: str = "cpu") -> None:
        self._path = store.root / NAME
        self._environment = environment
        self._rate = OPERATIONS_PER_SECOND[device]
        self._seconds: dict[str, float] = {}
        with suppress(StorageError):  # epochs are then measured again
            self._seconds = _read(self._path).get(environment, {})
        self._runs: dict[str, tuple[RunSpec, EpochWork]] = {}
        self._keys: dict[str, _Keys] = {}  # by run
        self._is_changed = False

    @property
    def start_seconds(self) -> float:
        """The seconds from the submission of a job to the start of its first epoch."""
        return self._seconds.get("start", START_SECONDS)

    @property
    def timing_seconds(self) -> float:
        """The seconds in which the inference of a network is timed."""
        return self._seconds.get("timing", TIMING_SECONDS)

    def add(self, spec: RunSpec, work: EpochWork) -> None:
        """Add a run, so that its cost can be estimated."""
        self._runs[spec.id] = spec, work

    def cost(self, run: str) -> RunCost:
        """Return the cost of an epoch of a run."""
        keys, (_, work) = self._keys_of(run), self._runs[run]
        own = self._seconds.get(keys.own)
        if own is None:
            own = self._prior(work.own, work.steps) * self._correction(keys.student)
        shared = self._seconds.get(keys.shared)
        if shared is None:
            shared = self._prior(work.shared, 0) * self._correction(keys.teacher or keys.student)
        end = self._seconds.get(f"{keys.student} end", self._seconds.get("all end", 0.0))
        return RunCost(own, shared, end)

    def _prior(self, operations: float, steps: int) -> float:
        return operations / self._rate + steps * SECONDS_PER_STEP

    def _correction(self, network: str) -> float:
        """Return measured over estimated seconds: of runs that train this network, else of all runs, else 1."""
        for key in (network, "all"):
            measured, estimated = self._seconds.get(f"{key} measured"), self._seconds.get(f"{key} estimated")
            if measured and estimated:
                return measured / estimated
        return 1.0

    def observe_epoch(self, event: EpochEnded) -> None:
        """Take in the seconds of an epoch of a cohort."""
        for run, seconds in zip(event.runs, event.run_seconds, strict=True):
            self._observe_own(run, seconds)
        self._update(self._shared_key(event.runs), max(0.0, event.seconds - sum(event.run_seconds)))

    def _observe_own(self, run: str, seconds: float) -> None:
        keys, (_, work) = self._keys_of(run), self._runs[run]
        self._update(keys.own, seconds)
        for key in (keys.student, "all"):
            self._update(f"{key} measured", seconds)
            self._update(f"{key} estimated", self._prior(work.own, work.steps))

    def _shared_key(self, runs: Sequence[str]) -> str:
        """Return the key of what a cohort shares: of a run with a teacher, if there is one."""
        return max(map(self._keys_of, runs), key=lambda keys: keys.teacher).shared

    def _keys_of(self, run: str) -> "_Keys":
        if run not in self._keys:
            self._keys[run] = _make_keys(*self._runs[run])
        return self._keys[run]

    def observe_measurement(self, event: RunMeasured) -> None:
        """Take in the steps of a run that were measured before it trains."""
        keys, (_, work) = self._keys_of(event.run), self._runs[event.run]
        self._observe_own(event.run, work.steps * event.own + event.evaluation)
        self._update(keys.shared, work.steps * event.shared)

    def unmeasured(self, runs: Iterable[str]) -> list[str]:
        """Return a run of each kind that was never measured."""
        return self._without_seconds({self._keys_of(run).own: run for run in runs})

    def unmeasured_networks(self, runs: Iterable[str]) -> list[str]:
        """Return a run of each network that was never measured, whatever its method."""
        return self._without_seconds({f"{self._keys_of(run).student} measured": run for run in runs})

    def _without_seconds(self, runs: Mapping[str, str]) -> list[str]:
        return [run for key, run in runs.items() if key not in self._seconds]

    def step_seconds(self, run: str) -> float:
        """Return the seconds of a step of a run, alone."""
        cost = self.cost(run)
        return (cost.own + cost.shared) / max(1, self._runs[run][1].steps)

    def observe_end(self, run: str, seconds: float) -> None:
        """Take in the seconds from the end of the last epoch of a run to that of the run."""
        for key in (self._keys_of(run).student, "all"):
            self._update(f"{key} end", max(0.0, seconds))

    def observe_timing(self, seconds: float) -> None:
        """Take in the seconds in which the inference of a network was timed."""
        self._update("timing", seconds)

    def observe_start(self, seconds: float) -> None:
        """Take in the seconds from the submission of a job to the start of its first epoch."""
        self._update("start", max(0.0, seconds))

    def _update(self, key: str, seconds: float) -> None:
        known = self._seconds.get(key)
        self._seconds[key] = seconds if known is None else (1 - WEIGHT) * known + WEIGHT * seconds
        self._is_changed = True

    def save(self) -> None:
        """Write the measurements; those of other environments, and of other processes, are kept.

        Raises:
            StorageError: the file cannot be read or written.
        """
        if self._is_changed:
            known = _read(self._path)
            write_json(self._path, {**known, self._environment: {**known.get(self._environment, {}), **self._seconds}})
            self._is_changed = False


@final
@dataclass(frozen=True)
class _Keys:
    own: str
    shared: str
    student: str
    teacher: str  # empty without a teacher


def _make_keys(spec: RunSpec, work: EpochWork) -> _Keys:
    teacher = spec.teacher.student.canonical if spec.teacher else ""
    batches = [spec.recipe.batch_size, spec.recipe.precision, work.steps, teacher]
    networks = [network.canonical for network in (spec.student, *spec.peers)]
    return _Keys(
        own=digest(canonical([networks, spec.method, spec.recipe.optimizer.name, batches, work.own])),
        shared=digest(canonical([spec.dataset.name, batches, work.shared])),
        student=_network_key(networks, spec),
        teacher=_network_key([teacher], spec) if teacher else "",
    )


def _network_key(networks: Sequence[str], spec: RunSpec) -> str:
    return digest(canonical([networks, spec.recipe.precision]))


def _read(path: Path) -> dict[str, dict[str, float]]:
    """Return the measurements in a file by environment; none if it is missing or corrupted, for they are made again."""
    try:
        found = read_json(path)
    except (FileNotFoundError, ResultsError):
        return {}
    return {
        name: {key: float(value) for key, value in times.items() if _is_time(value)}
        for name, times in found.items()
        if isinstance(times, dict)
    }


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e9
