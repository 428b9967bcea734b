"""How long a matrix takes on this machine and how much disk space it fills. Nothing here imports torch."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import final

from kdbench.errors import TrainingError
from kdbench.matrix import load
from kdbench.queue.executors.base import worker_environment

NOT_COUNTED = (
    "Not counted: process start, reading data, test scores, inference timing, checkpoints; slowdown of workers by one "
    "another; savings by early stopping and by the teacher cache. The first configuration of a label stands for "
    "the one that a search chooses."
)


@final
@dataclass(frozen=True)
class KindEstimate:
    """Runs of a matrix that share batches of one shape and the architecture of the teacher.

    Attributes:
        kind: data set, networks, methods, batch shape and precision, as one line of text.
        cohorts: number of cohorts.
        runs: number of runs.
        steps: optimizer steps per epoch.
        epochs: epochs of a run.
        epoch_seconds: seconds of an epoch of the slowest cohort; None if a run does not fit into memory.
        hours: hours of all cohorts, one after the other; None if a run does not fit into memory.
    """

    kind: str
    cohorts: int
    runs: int
    steps: int
    epochs: int
    epoch_seconds: float | None
    hours: float | None


@final
@dataclass(frozen=True)
class Estimate:
    """The cost of the pending runs of a matrix on this machine.

    Attributes:
        kinds: one entry per kind of cohort, in the order in which they start.
        slots: number of device slots.
        device: "cpu" or "cuda".
        threads: CPU threads per worker.
        busy_hours: sum over all cohorts.
        wall_hours: from start to end on these slots.
        results_bytes: disk that the runs leave in the results folder.
        checkpoint_bytes: disk for checkpoints while runs train.
        teacher_cache_bytes: upper limit of the teacher cache.
    """

    kinds: tuple[KindEstimate, ...]
    slots: int
    device: str
    threads: int
    busy_hours: float
    wall_hours: float
    results_bytes: int
    checkpoint_bytes: int
    teacher_cache_bytes: int


def run_estimate(matrix: Path, results: Path) -> Estimate:
    """Estimate a matrix in a fresh process, with the environment and the memory limit of a worker.

    Raises:
        MatrixError: the matrix has an error.
        TrainingError: the process ended without a result.
    """
    threads = load(matrix).run.threads or 1
    command = [sys.executable, "-m", "kdbench.estimate", str(matrix), "--results", str(results)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **worker_environment(threads)}
    )
    if done.returncode:
        reason = done.stderr.strip().splitlines()
        raise TrainingError(f"the estimate failed: {reason[-1] if reason else f'exit status {done.returncode}'}")
    found = json.loads(done.stdout)
    return Estimate(**{**found, "kinds": tuple(KindEstimate(**kind) for kind in found["kinds"])})
