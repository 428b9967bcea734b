"""Runs the jobs of a worker: trains a cohort, measures steps, or times a network."""

import platform
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, final

import torch

from kdbench.errors import KdbenchError, TrainingError
from kdbench.events import (
    CohortHalved,
    EventHandler,
    InferenceTimed,
    JobFailed,
    JobStarted,
    RunMeasured,
)
from kdbench.matrix import RunSpec
from kdbench.numerics import NUMERICS
from kdbench.results import Store
from kdbench.results.storage_errors import storage_errors
from kdbench.training.memory import clear_frames
from kdbench.training.precision import allow_tf32
from kdbench.worker.claimed_runs import ClaimedRuns
from kdbench.worker.cohort import CohortWorker
from kdbench.worker.cohort_data import load_sizes
from kdbench.worker.compiler import missing_compiler
from kdbench.worker.memory import train_within_memory
from kdbench.worker.options import Options
from kdbench.worker.step_cost import measure_step_cost
from kdbench.worker.timing import time_run


def set_up_torch(device: torch.device) -> None:
    """Configure torch for a device as every worker does: deterministic algorithms on a GPU, and no TF32."""
    allow_tf32(False)
    if torch.are_deterministic_algorithms_enabled() != (device.type == "cuda"):  # setting it imports torch's compiler
        torch.use_deterministic_algorithms(device.type == "cuda", warn_only=True)
    # no code here reads uninitialized memory, and filling it costs a kernel per tensor
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


@final
class JobRunner:
    """Runs one job after the other on one device.

    Args:
        results: the results folder.
        device: "cpu" or "cuda".
        threads: the number of torch's CPU threads.
        log: the file that standard output and standard error go to; None if there is no such file.
        on_event: called with each event.
        requested: returns the runs that a job, by its id, is to give away.
    """

    def __init__(
        self,
        results: str,
        device: str,
        threads: int,
        log: Path | None,
        on_event: EventHandler,
        requested: Callable[[int], Collection[str]] = lambda job: (),
    ) -> None:
        torch.set_num_threads(threads)
        self._store = Store(results)
        self.device = torch.device(device)
        set_up_torch(self.device)
        self._log = log
        self._emit = on_event
        self._requested = requested
        self._options = Options()

    def run_job(self, job: Mapping[str, Any]) -> None:
        """Run one job, a JSON object as `Job.to_json` returns it.

        A `KdbenchError`, such as that of a full disk, would fail every job, so it is emitted as `JobFailed`. Any other
        exception propagates and ends the worker: the runs of this job have used an attempt, other jobs are unaffected.
        """
        self._emit(JobStarted(job["id"]))
        try:
            with storage_errors():
                self._run(job)
        except KdbenchError as error:
            self._emit(JobFailed(str(error)))

    def _run(self, job: Mapping[str, Any]) -> None:
        if "time" in job:
            spec = RunSpec.from_json(job["time"])
            time_run(spec, self._store, self.device)
            self._emit(InferenceTimed(spec.id))
        elif "measure" in job:
            self._measure([RunSpec.from_json(spec) for spec in job["measure"]], Options(**job["options"]))
        else:
            self._options = Options(**job.get("options", {}))
            if self._options.compile:
                _check_compiler()
            self._train(job["id"], [_check_numerics(RunSpec.from_json(spec)) for spec in job["train"]])

    def _measure(self, specs: Sequence[RunSpec], options: Options) -> None:
        """Measure a few steps of each run; an error is left to its training."""
        for spec in specs:
            try:
                cost = measure_step_cost(spec, *load_sizes(spec), self.device, options)
            except Exception as error:  # a custom network or method may raise anything
                clear_frames(error)
                continue
            self._emit(RunMeasured(spec.id, cost.own, cost.shared, cost.evaluation))

    def _train(self, job: int, specs: Sequence[RunSpec]) -> None:
        """Train those of the runs that are not finished and that no other process trains."""
        claims = ClaimedRuns(job, self._store, self._emit, lambda: self._requested(job), self._log)

        def train(part: Sequence[RunSpec]) -> None:
            claims.give_away_waiting(claims.requested())
            if left := claims.unfinished(part):
                self._cohort(left, claims).train()

        def emit_halved(part: Sequence[RunSpec]) -> None:
            self._emit(CohortHalved(tuple(spec.id for spec in claims.unfinished(part))))

        with claims.claim(specs) as claimed:
            if claimed:
                train_within_memory(claimed, train, self._fail, emit_halved)

    def _cohort(self, specs: Sequence[RunSpec], claims: ClaimedRuns | None = None) -> CohortWorker:
        return CohortWorker(specs, self._store, self.device, self._emit, self._options, claims)

    def _fail(self, spec: RunSpec, error: TrainingError) -> None:
        self._cohort([spec]).fail(spec, error)


def _check_numerics(spec: RunSpec) -> RunSpec:
    """Raise KdbenchError if the run was planned by code with other numbers than this machine's."""
    if spec.numerics != NUMERICS:
        raise KdbenchError(
            f"the run {spec.id} was planned with version {spec.numerics} of kdbench's numbers (NUMERICS), but "
            f"{platform.node()} has version {NUMERICS}; install the same kdbench on every machine"
        )
    return spec


def _check_compiler() -> None:
    """Raise KdbenchError without a compiler, before every run fails."""
    missing = missing_compiler()
    if missing is not None:
        raise KdbenchError(
            f"run.compile needs a C++ compiler and Python's headers, but {platform.node()} has no {missing}; install "
            "it, set the environment variable CXX to another compiler, or set run.compile = false"
        )
