"""The jobs of a worker: a cohort to train, a network to time."""

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
from kdbench.results import Store, worker_logs
from kdbench.worker.cohort import CohortWorker
from kdbench.worker.compiler import missing_compiler
from kdbench.worker.memory import train_within_memory
from kdbench.worker.options import Options
from kdbench.worker.timing import time_run


def set_up_torch(device: torch.device) -> None:
    """Have torch compute on a device as in every worker."""
    torch.use_deterministic_algorithms(device.type == "cuda", warn_only=True)
    # nobody reads memory before it is written, and filling it costs a kernel each time
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


@final
class JobRunner:
    """Does one job after the other on one device. `log` is where all that is printed goes."""

    def __init__(self, results: str, device: str, threads: int, log: Path | None, on_event: EventHandler) -> None:
        torch.set_num_threads(threads)
        self._store = Store(results)
        self._device = torch.device(device)
        set_up_torch(self._device)
        self._log = log
        self._emit = on_event
        self._options = Options()

    def run_job(self, job: Mapping[str, Any]) -> None:
        """Do one job. What is wrong for every job is told; anything else ends this process and costs only its job."""
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
                self._train([RunSpec.from_json(spec) for spec in job["train"]])
        except KdbenchError as error:
            self._emit(JobFailed(str(error)))

    def _train(self, specs: Sequence[RunSpec]) -> None:
        """Train those of the runs that nobody else trains or has finished."""
        with ExitStack() as locks:
            mine = [spec for spec in specs if self._claim(spec, locks)]
            if mine:
                for spec in mine:
                    self._store.begin_attempt(spec.id)
                with self._logged(mine):
                    train_within_memory(mine, self._train_together, self._fail, self._emit_halved)

    @contextmanager
    def _logged(self, specs: Sequence[RunSpec]) -> Iterator[None]:
        """Tell the logs of runs where their worker prints, and in the end what; if it dies, its coordinator does."""
        if self._log is None:
            yield
            return
        runs, since = [spec.id for spec in specs], worker_logs.size(self._log)
        worker_logs.tell_begun(self._store, runs, self._log, since)
        try:
            yield
        except KdbenchError:
            worker_logs.tell_printed(self._store, runs, self._log, since)
            raise
        worker_logs.tell_printed(self._store, runs, self._log, since)

    def _claim(self, spec: RunSpec, locks: ExitStack) -> bool:
        """Whether a run is ours to train."""
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
        waiting = [spec for spec in specs if not self._store.is_finished(spec.id)]
        if waiting:
            self._cohort(waiting).train()

    def _fail(self, spec: RunSpec, error: TrainingError) -> None:
        self._cohort([spec]).fail(spec, error)

    def _emit_halved(self, specs: Sequence[RunSpec]) -> None:
        self._emit(CohortHalved(tuple(spec.id for spec in specs)))


def _check_compiler() -> None:
    """Else every run would fail, and for good."""
    lack = missing_compiler()
    if lack is not None:
        raise KdbenchError(
            f"run.compile needs a C++ compiler and Python's headers, but {platform.node()} has no {lack}; install it, "
            "name another compiler by CXX, or set run.compile = false"
        )
