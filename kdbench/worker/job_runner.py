"""Runs the jobs of a worker: trains a cohort, or times a network."""

import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
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
    RunDone,
    RunTakenElsewhere,
)
from kdbench.matrix import RunSpec
from kdbench.numerics import NUMERICS
from kdbench.results import Store, worker_logs
from kdbench.training.precision import allow_tf32
from kdbench.worker.cohort import CohortWorker
from kdbench.worker.compiler import missing_compiler
from kdbench.worker.memory import train_within_memory
from kdbench.worker.options import Options
from kdbench.worker.timing import time_run


def set_up_torch(device: torch.device) -> None:
    """Configure torch for a device as every worker does: deterministic algorithms on a GPU, and no TF32."""
    allow_tf32(False)
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
    """

    def __init__(self, results: str, device: str, threads: int, log: Path | None, on_event: EventHandler) -> None:
        torch.set_num_threads(threads)
        self._store = Store(results)
        self._device = torch.device(device)
        set_up_torch(self._device)
        self._log = log
        self._emit = on_event
        self._options = Options()

    def run_job(self, job: Mapping[str, Any]) -> None:
        """Run one job, a JSON object as `Job.to_json` returns it.

        A `KdbenchError` would fail every job, so it is emitted as `JobFailed`. Any other exception propagates and ends
        the worker: the runs of this job have used an attempt, other jobs are unaffected.
        """
        self._emit(JobStarted(job["id"]))
        try:
            if "time" in job:
                spec = RunSpec.from_json(job["time"])
                time_run(spec, self._store, self._device)
                self._emit(InferenceTimed(spec.id))
            else:
                self._options = Options(**job.get("options", {}))
                if self._options.compile:
                    _check_compiler()
                self._train([_check_numerics(RunSpec.from_json(spec)) for spec in job["train"]])
        except KdbenchError as error:
            self._emit(JobFailed(str(error)))

    def _train(self, specs: Sequence[RunSpec]) -> None:
        """Train those of the runs that are not finished and that no other process trains."""
        with ExitStack() as locks:
            claimed = [spec for spec in specs if self._claim(spec, locks)]
            if claimed:
                for spec in claimed:
                    self._store.begin_attempt(spec.id)
                with self._logged(claimed):
                    train_within_memory(claimed, self._train_together, self._fail, self._emit_halved)

    @contextmanager
    def _logged(self, specs: Sequence[RunSpec]) -> Iterator[None]:
        """Log where the worker's output is, and copy the output into the logs of the runs at the end of the job.

        If the worker dies, the process that started it copies the output.
        """
        if self._log is None:
            yield
            return
        runs, since = [spec.id for spec in specs], worker_logs.size(self._log)
        worker_logs.log_start(self._store, runs, self._log, since)
        try:
            yield
        except KdbenchError:
            worker_logs.log_output(self._store, runs, self._log, since)
            raise
        worker_logs.log_output(self._store, runs, self._log, since)

    def _claim(self, spec: RunSpec, locks: ExitStack) -> bool:
        """Take the lock of a run; return whether the run is to be trained."""
        lock = self._store.claim(spec.id)
        if lock is None:
            self._emit(RunTakenElsewhere(spec.id))
            return False
        locks.callback(lock.release)
        if self._store.is_finished(spec.id):
            self._emit(RunDone(spec.id))
            return False
        return True

    def _cohort(self, specs: Sequence[RunSpec]) -> CohortWorker:
        return CohortWorker(specs, self._store, self._device, self._emit, self._options)

    def _train_together(self, specs: Sequence[RunSpec]) -> None:
        unfinished = [spec for spec in specs if not self._store.is_finished(spec.id)]
        if unfinished:
            self._cohort(unfinished).train()

    def _fail(self, spec: RunSpec, error: TrainingError) -> None:
        self._cohort([spec]).fail(spec, error)

    def _emit_halved(self, specs: Sequence[RunSpec]) -> None:
        self._emit(CohortHalved(tuple(spec.id for spec in specs)))


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
