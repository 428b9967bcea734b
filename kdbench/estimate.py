"""How long a matrix takes on this machine and how much disk it fills, from a few steps of each kind of run in it.

The queue's rules group the pending runs into cohorts. Runs of a kind (same batch shape and recipe, same networks, method
and optimizer) cost the same, so one of each kind is measured: a few steps on random images with random weights
(`kdbench.worker.step_cost`). A cohort takes the shared seconds of a step once, and the sum of its members' own. The wall
time is that of a list schedule of these cohorts on the machine's device slots.

`python -m kdbench.estimate MATRIX` runs in a process of its own with the environment of a worker, and prints JSON.
"""

import argparse
import gc
import heapq
import json
import os
import resource
import subprocess
import sys
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import final

import torch

from kdbench import data, methods, models
from kdbench.data.splits import split
from kdbench.errors import KdbenchError, TrainingError
from kdbench.matrix import NetworkSpec, RunSpec, load
from kdbench.plan import batches_key, make_plan
from kdbench.queue.devices import find_slots
from kdbench.queue.executors.base import worker_environment
from kdbench.queue.grouping import QueuedRun, group_runs
from kdbench.results import Store
from kdbench.training.memory import clear_frames, is_out_of_memory
from kdbench.training.method import Task
from kdbench.worker.job_runner import set_up_torch
from kdbench.worker.memory import free_memory
from kdbench.worker.options import Options
from kdbench.worker.step_cost import StepCost, measure_step_cost

NOT_COUNTED = (
    "Not counted: process start, reading data, test scores, inference timing, checkpoints; slowdown of workers by one "
    "another; savings by early stopping and by the teacher cache."
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
        hours: hours of all cohorts, one after the other; None likewise.
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
    """What the pending runs of a matrix cost on this machine.

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
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=_environment(threads))
    if done.returncode:
        reason = done.stderr.strip().splitlines()
        raise TrainingError(f"the estimate failed: {reason[-1] if reason else f'exit status {done.returncode}'}")
    found = json.loads(done.stdout)
    return Estimate(**{**found, "kinds": tuple(KindEstimate(**kind) for kind in found["kinds"])})


def _environment(threads: int) -> dict[str, str]:
    return {**os.environ, **worker_environment(threads)}


@final
@dataclass(frozen=True, eq=False)
class _Kind:
    cohorts: Sequence[Sequence[RunSpec]]
    task: Task
    validation: int  # images

    @property
    def first(self) -> RunSpec:
        return self.cohorts[0][0]

    @property
    def runs(self) -> list[RunSpec]:
        return [run for cohort in self.cohorts for run in cohort]

    @property
    def steps(self) -> int:
        recipe, full = self.first.recipe, self.task.train_size // self.first.recipe.batch_size
        reads_images = any(methods.find(part.name).data == "train" for part in self.first.parts)
        return full if reads_images else recipe.steps_per_epoch or max(1, full)

    def __str__(self) -> str:
        recipe, runs = self.first.recipe, self.runs
        teachers = ", ".join(sorted({run.teacher.student.name for run in runs if run.teacher}))
        students, names = sorted({run.student.name for run in runs}), sorted({run.method for run in runs})
        networks = f"{teachers} -> {', '.join(students)}" if teachers else ", ".join(students)
        shape = "x".join(map(str, self.task.image_shape))
        return f"{self.first.dataset.name}: {networks}; {', '.join(names)}; batch {recipe.batch_size}x{shape}"


def estimate(file: Path, results: Path) -> Estimate:
    """Measure and add up; the caller has set the environment of a worker.

    Raises:
        MatrixError: the matrix has an error.
    """
    matrix = load(file)
    threads = matrix.run.threads or 1
    device_slots = find_slots(matrix.run.devices, matrix.run.workers, threads, matrix.run.runs_per_device)
    device = torch.device(device_slots[0].device)
    torch.set_num_threads(threads)
    set_up_torch(device)
    runs = _pending(make_plan(matrix, provisional=True).runs, results)
    options = Options(compile=matrix.run.compile, cuda_graphs=matrix.run.cuda_graphs)
    kinds = _kinds(runs, len(device_slots))
    epochs = {id(kind): _epoch_seconds(kind, device, options) for kind in kinds}
    durations = {
        cohort[0].id: seconds * kind.first.recipe.epochs
        for kind in kinds
        for cohort, seconds in zip(kind.cohorts, epochs[id(kind)] or [0.0] * len(kind.cohorts), strict=True)
    }
    cohorts = [(cohort, durations[cohort[0].id]) for kind in kinds for cohort in kind.cohorts]
    results_bytes, checkpoint_bytes = _disk(kinds, len(device_slots))
    return Estimate(
        kinds=tuple(_summarize(kind, epochs[id(kind)]) for kind in kinds),
        slots=len(device_slots),
        device=device.type,
        threads=threads,
        busy_hours=sum(durations.values()) / 3600,
        wall_hours=simulate(cohorts, len(device_slots)) / 3600,
        results_bytes=results_bytes,
        checkpoint_bytes=checkpoint_bytes,
        teacher_cache_bytes=int(matrix.run.teacher_cache_gb * 1e9),
    )


def simulate(cohorts: Iterable[tuple[Sequence[RunSpec], float]], slot_count: int) -> float:
    """Seconds of a list schedule: each slot takes the next cohort whose needed runs are done.

    Args:
        cohorts: cohorts in the order of the queue, each with its seconds.
        slot_count: number of device slots.
    """
    pending, ended, now = list(cohorts), dict[str, float](), 0.0
    planned = {run.id for cohort, _ in pending for run in cohort}
    busy: list[float] = []
    while pending:
        ready = next((item for item in pending if _is_ready(item[0], planned, ended, now)), None)
        if ready is None or len(busy) == slot_count:
            now = heapq.heappop(busy)
            continue
        pending.remove(ready)
        heapq.heappush(busy, now + ready[1])
        ended |= {run.id: now + ready[1] for run in ready[0]}
    return max(ended.values(), default=0.0)


def _is_ready(cohort: Sequence[RunSpec], planned: set[str], ended: Mapping[str, float], now: float) -> bool:
    needs = {need.id for run in cohort for _, need in run.needs} & planned
    return all(need in ended and ended[need] <= now for need in needs)


def _pending(runs: Sequence[RunSpec], results: Path) -> list[RunSpec]:
    store = Store(results) if (results / "kdbench.json").exists() else None
    return [run for run in runs if store is None or store.state(run.id) != "done"]


def _summarize(kind: _Kind, epochs: Sequence[float] | None) -> KindEstimate:
    return KindEstimate(
        kind=str(kind),
        cohorts=len(kind.cohorts),
        runs=len(kind.runs),
        steps=kind.steps,
        epochs=kind.first.recipe.epochs,
        epoch_seconds=None if epochs is None else max(epochs),
        hours=None if epochs is None else sum(epochs) * kind.first.recipe.epochs / 3600,
    )


def _kinds(runs: Sequence[RunSpec], slot_count: int) -> list[_Kind]:
    found: dict[tuple[str, str], list[list[RunSpec]]] = {}
    for cohort in _cohorts(runs, slot_count):
        teacher = next((run.teacher.student.canonical for run in cohort if run.teacher), "")
        found.setdefault((batches_key(replace(cohort[0], seed=0)), teacher), []).append(cohort)
    return [_Kind(cohorts, *_sizes(cohorts[0][0])) for cohorts in found.values()]


def _cohorts(runs: Sequence[RunSpec], slot_count: int) -> list[list[RunSpec]]:
    """Cohorts of the runs that need no other, then of those that need these, and so on."""
    pending, planned = [QueuedRun(run, batches_key(run)) for run in runs], {run.id for run in runs}
    found: list[list[RunSpec]] = []
    while pending:
        ready = [item for item in pending if not {need.id for _, need in item.spec.needs} & planned]
        found += [[item.spec for item in cohort] for cohort in group_runs(ready, slot_count)]
        planned -= {item.spec.id for item in ready}
        pending = [item for item in pending if item.spec.id in planned]
    return found


def _sizes(run: RunSpec) -> tuple[Task, int]:
    """The task of a run, and its number of validation images."""
    loaded = data.load(run.dataset) if run.dataset.fingerprint else data.get_info(run.dataset)
    parts = split(loaded.train_labels, run.split.validation, run.split.split_seed, run.recipe.train_samples)
    task = Task(loaded.num_classes, len(parts.train), loaded.image_shape, run.recipe.batch_size)
    return task, len(parts.validation)


def _epoch_seconds(kind: _Kind, device: torch.device, options: Options) -> list[float] | None:
    """Seconds of an epoch of each cohort; None if a run does not fit into memory."""
    costs: dict[Hashable, StepCost] = {}
    try:
        for run in kind.runs:
            if _cost_key(run) not in costs:
                costs[_cost_key(run)] = measure_step_cost(run, kind.task, kind.validation, device, options)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        clear_frames(error)  # they hold the networks
        return None
    finally:
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
    return [_cohort_seconds(kind.steps, [costs[_cost_key(run)] for run in cohort]) for cohort in kind.cohorts]


def _cost_key(run: RunSpec) -> Hashable:
    """Equal for runs of a kind that cost the same."""
    needs = tuple((role, need.student.canonical) for role, need in run.needs)
    peers = tuple(peer.canonical for peer in run.peers)
    return run.student.canonical, run.method, needs, peers, run.recipe.optimizer.name


def _cohort_seconds(steps: int, costs: Sequence[StepCost]) -> float:
    shared = max(cost.shared for cost in costs)  # a run without a teacher measures none
    return steps * (shared + sum(cost.own for cost in costs)) + sum(cost.evaluation for cost in costs)


def _disk(kinds: Sequence[_Kind], slot_count: int) -> tuple[int, int]:
    """Bytes of all weights, and of two checkpoints of the largest cohorts that train side by side.

    A checkpoint holds weights, moments and the best epoch's weights: about four times the weights.
    """

    @cache
    def weights(network: NetworkSpec, task: Task) -> int:
        with torch.device("meta"):
            state: Mapping[str, torch.Tensor] = models.build_from_spec(network.untrained(), task).state_dict()
        return sum(value.numel() * value.element_size() for value in state.values())

    def run_bytes(run: RunSpec, task: Task) -> int:
        return sum(weights(network, task) for network in (run.student, *run.peers))

    cohorts = [sum(run_bytes(run, kind.task) for run in cohort) for kind in kinds for cohort in kind.cohorts]
    return sum(cohorts), 2 * 4 * sum(sorted(cohorts)[-slot_count:])


def main() -> None:
    """Print the estimate as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("matrix", type=Path)
    parser.add_argument("--results", type=Path, default=Path("results"))
    arguments = parser.parse_args()
    limit = int(0.8 * free_memory(torch.device("cpu")))
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))  # so that this process runs out of memory, and no other
    try:
        found = estimate(arguments.matrix, arguments.results)
    except KdbenchError as error:
        raise SystemExit(str(error)) from None
    sys.stdout.write(json.dumps(asdict(found)) + "\n")


if __name__ == "__main__":
    main()
