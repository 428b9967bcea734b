"""The seam between the scheduler, which decides what is done, and the places where it is done."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, final

from kdbench.events import Event
from kdbench.matrix import RunSpec


@final
@dataclass(frozen=True, eq=False)
class Job:
    """What one worker does at a time: train a cohort, or time the one network that is given."""

    id: int
    specs: tuple[RunSpec, ...]
    kind: Literal["train", "time"] = "train"
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def runs(self) -> tuple[str, ...]:
        """The ids of its runs."""
        return tuple(spec.id for spec in self.specs)

    def message(self) -> dict[str, Any]:
        """The job as `python -m kdbench.worker` reads it."""
        if self.kind == "time":
            return {"id": self.id, "time": self.specs[0].to_json()}
        return {"id": self.id, "train": [spec.to_json() for spec in self.specs], "options": dict(self.options)}


class Executor(Protocol):
    """Does jobs, each in a process that may die without harm to the others."""

    def capacity(self) -> int:
        """How many jobs can begin now."""

    def submit(self, job: Job) -> None:
        """Begin a job; only while there is capacity.

        Raises:
            KdbenchError: no worker can be started.
        """

    def poll(self, timeout: float) -> list[Event]:
        """What workers have told since, after at most `timeout` seconds of waiting.

        The first event of a job is `JobStarted`; the last one is `JobEnded`, or `WorkerDied`.
        """

    def cancel(self, job: int) -> None:
        """Kill the worker of a job, which is then told as a death; nothing happens if the job is over."""

    def close(self, now: bool = False) -> None:
        """End all workers: they have five seconds to leave, or none."""


def worker_environment(threads: int) -> dict[str, str]:
    """What must stand in a worker's environment before torch is imported: threads, memory, our import path.

    What the plan could import, the worker can, and nothing else. glibc is to keep the memory of a step for the next
    one: handed back and asked for again, each of its pages would cost a fault.
    """
    count = str(threads)
    path = os.pathsep.join(folder or str(Path.cwd()) for folder in sys.path)
    fixed = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8", "PYTHONPATH": path}
    memory = {"MALLOC_MMAP_THRESHOLD_": str(32 * 2**20), "MALLOC_TRIM_THRESHOLD_": str(512 * 2**20)}
    return {"OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count, **memory, **fixed}
