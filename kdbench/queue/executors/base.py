"""The interface between the scheduler, which decides what runs, and the executors, which run it."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, final

from kdbench.events import Event
from kdbench.matrix import RunSpec
from kdbench.results.timings import TimingEnvironment

JobKind = Literal["train", "measure", "time"]


@final
@dataclass(frozen=True, eq=False)
class Job:
    """A unit of work for one worker.

    It trains a cohort, measures a few steps of each run, or times the inference of the one network in `specs`.
    """

    id: int
    specs: tuple[RunSpec, ...]
    kind: JobKind = "train"
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def runs(self) -> tuple[str, ...]:
        """The ids of its runs."""
        return tuple(spec.id for spec in self.specs)

    def to_json(self) -> dict[str, Any]:
        """Return the JSON object that `python -m kdbench.worker` reads."""
        if self.kind == "time":
            return {"id": self.id, "time": self.specs[0].to_json()}
        return {"id": self.id, self.kind: [spec.to_json() for spec in self.specs], "options": dict(self.options)}


class Executor(Protocol):
    """Runs jobs, each in its own process: a crash ends one job and no other."""

    def environments(self) -> Sequence[TimingEnvironment]:
        """Return the environments in which jobs run; empty if they are not known."""

    def start(self) -> None:
        """Start workers now, so that they are ready when the first jobs are submitted.

        Raises:
            KdbenchError: no worker can start.
        """

    def slot_count(self) -> int:
        """Return the number of jobs that can run at the same time."""

    def free_slots(self) -> int:
        """Return the number of jobs that can start now."""

    def submit(self, job: Job) -> None:
        """Start a job; needs a free slot.

        Raises:
            KdbenchError: no worker can start.
        """

    def poll(self, timeout: float) -> list[Event]:
        """Return the events since the last call; waits up to `timeout` seconds for the first.

        The first event of a job is `JobStarted`; the last one is `JobEnded` or `WorkerDied`.
        """

    def give_away(self, job: int, runs: Sequence[str]) -> None:
        """Request that the worker of a job gives some of its runs away at the end of its epoch.

        `poll` then returns `RunsGivenAway`, whose runs can be submitted in another job. Runs that have ended stay, and
        nothing happens if the job has ended.
        """

    def cancel(self, job: int) -> None:
        """Kill the worker of a job; `poll` then returns `WorkerDied`. Does nothing if the job has ended."""

    def close(self, kill: bool = False) -> None:
        """Stop all workers. They get five seconds to exit, or none with `kill`."""


def worker_environment(threads: int) -> dict[str, str]:
    """Return the environment variables that a worker needs before it imports torch.

    They set the number of threads, the import path of this process, and that glibc keeps the memory that is freed, of
    tensors of any size: the next step or evaluation uses it again, which saves a page fault per page.
    """
    count = str(threads)
    path = os.pathsep.join(folder or str(Path.cwd()) for folder in sys.path)
    fixed = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8", "PYTHONPATH": path}
    memory = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40)}
    return {"OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count, **memory, **fixed}
