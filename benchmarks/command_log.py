"""Run `kdbench run` with a log of its events, and divide the time of its workers by what they did. Not a script."""

import json
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, final

from kdbench.events import (
    CohortStarted,
    EpochEnded,
    Event,
    InferenceTimed,
    JobEnded,
    JobStarted,
    WorkerDied,
    from_json,
    to_json,
)

if TYPE_CHECKING:  # `run_logged` imports nothing that the command does not import itself
    from kdbench.results import Store

IDLE = "idle, "


@final
@dataclass
class Job:
    """A cohort on a worker; times in seconds since the command."""

    worker: int
    runs: tuple[str, ...]
    submitted: float
    has_teacher: bool
    started: float = 0.0
    ended: float = 0.0
    training: float = 0.0  # seconds of its epochs, with their evaluation


@final
@dataclass(frozen=True)
class CommandLog:
    """What the workers of a command did; times in seconds since the command.

    Attributes:
        seconds: from the command to its end.
        workers: the number of workers, busy or not.
        jobs: all cohorts, by the time of their start.
        timed: when the last inference time was measured; the end of the training if none was.
    """

    seconds: float
    workers: int
    jobs: Sequence[Job] = field(default_factory=list)
    timed: float = 0.0

    @property
    def training_span(self) -> tuple[float, float]:
        """When the first cohort was submitted, and when the last one ended."""
        return min(job.submitted for job in self.jobs), max(job.ended for job in self.jobs)

    @property
    def students_span(self) -> tuple[float, float]:
        """As `training_span`, for the cohorts with a teacher."""
        students = [job for job in self.jobs if job.has_teacher]
        return min(job.submitted for job in students), max(job.ended for job in students)

    def busy_share(self, start: float, end: float) -> float:
        """Return the share of the time between `start` and `end` that workers spent on cohorts."""
        busy = sum(max(0.0, min(job.ended, end) - max(job.started, start)) for job in self.jobs)
        return busy / (self.workers * (end - start))

    def shares(self) -> dict[str, float]:
        """Divide the seconds of all workers together, from the command to its end."""
        start, end = self.training_span
        return {
            "epochs, with their evaluation": sum(job.training for job in self.jobs),
            "start and end of cohorts (data, networks, final evaluation, files)": sum(
                job.ended - job.started - job.training for job in self.jobs
            ),
            "start of the command, planning": self.workers * start,
            "start of workers": sum(job.started - job.submitted for job in self.jobs),
            **self._idle(start, end),
            "timing of the inference, one network at a time": self.workers * (self.timed - end),
            "report": self.workers * (self.seconds - self.timed),
        }

    def _idle(self, start: float, end: float) -> dict[str, float]:
        """Return the seconds in which workers had no cohort during the training."""
        first = self.students_span[0]
        idle = dict.fromkeys((f"{IDLE}while a teacher trains", f"{IDLE}between cohorts", f"{IDLE}at the end"), 0.0)
        before, between, after = idle
        for worker in range(1, self.workers + 1):
            jobs = [job for job in self.jobs if job.worker == worker]
            free = start
            for job in jobs:
                waiting = max(0.0, min(job.submitted, first) - free)
                idle[before] += waiting
                idle[between] += max(0.0, job.submitted - free) - waiting
                free = job.ended
            idle[after] += end - free
        return idle


def logged_command(arguments: Sequence[str], log: Path) -> list[str]:
    """Return a command that runs kdbench and writes the time and the content of each event to a file."""
    call = f"import command_log; command_log.run_logged({list(arguments)!r}, {str(log)!r})"
    return [sys.executable, "-c", call]


def run_logged(arguments: Sequence[str], log: str) -> None:
    """Run kdbench in this process."""
    from kdbench.cli.app import app
    from kdbench.progress import Progress

    show = Progress.on_event
    with Path(log).open("w", encoding="utf-8") as file:

        def on_event(progress: Progress, event: Event) -> None:
            file.write(json.dumps([time.time(), to_json(event)]) + "\n")
            show(progress, event)

        Progress.on_event = on_event  # type: ignore[assignment, method-assign]
        app(arguments, prog_name="kdbench")


def read_log(log: Path, store: "Store", start: float, end: float, workers: int) -> CommandLog:
    """Read what `run_logged` wrote, of a command that ran from `start` to `end`, as `time.time()` returns them."""
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    jobs, timed = _read_jobs(((time - start, from_json(event)) for time, event in lines), store)
    trained = max(job.ended for job in jobs)
    return CommandLog(end - start, workers, jobs, timed or trained)


def _read_jobs(events: Iterable[tuple[float, Event]], store: "Store") -> tuple[list[Job], float | None]:
    """Return the cohorts, and the time of the last event about inference."""
    jobs: dict[int, Job] = {}
    job_of: dict[str, Job] = {}
    timed = None
    for seconds, event in events:
        match event:
            case CohortStarted(job, worker, runs):
                has_teacher = any(store.spec(run).needs for run in runs)
                jobs[job] = Job(worker, runs, seconds, has_teacher, seconds, seconds)
                job_of |= dict.fromkeys(runs, jobs[job])
            case JobStarted(job) if job in jobs:
                jobs[job].started = seconds
            case JobEnded(job) | WorkerDied(job) if job in jobs:
                jobs[job].ended = seconds
            case EpochEnded():
                job_of[event.runs[0]].training += event.seconds
            case InferenceTimed():
                timed = seconds
    return list(jobs.values()), timed
