"""Measure the cost of each kind of run and add up.

Runs with the same batch shape and recipe, networks, method and optimizer cost the same, so one of each is measured: a
few steps on random images with random weights (`kdbench.worker.step_cost`). The runs are then scheduled as `kdbench
run` does it (`kdbench.queue.planning`).
"""

import gc
from collections.abc import Hashable, Mapping, Sequence
from functools import cache
from pathlib import Path

import torch

from kdbench import models
from kdbench.estimate import Estimate, KindEstimate
from kdbench.estimate.kinds import Kind, find_pending, group_by_kind
from kdbench.matrix import NetworkSpec, RunSpec, load
from kdbench.plan import make_plan
from kdbench.queue.costs import RunCost
from kdbench.queue.devices import find_slots
from kdbench.queue.planned_runs import make_planned_runs
from kdbench.queue.planning import Schedule, make_schedule
from kdbench.queue.queued_run import QueuedRun
from kdbench.queue.simulation import Machine, PlannedRun
from kdbench.training.memory import clear_frames, is_out_of_memory
from kdbench.training.method import Task
from kdbench.worker.job_runner import set_up_torch
from kdbench.worker.options import Options
from kdbench.worker.step_cost import measure_step_cost


def measure(file: Path, results: Path) -> Estimate:
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
    runs = find_pending(make_plan(matrix, provisional=True), results)
    options = Options(compile=matrix.run.compile, cuda_graphs=matrix.run.cuda_graphs)
    kinds = group_by_kind(run.spec for run in runs)
    costs = {id(kind): _costs(kind, device, options) for kind in kinds}
    by_run = {run: cost for several in costs.values() for run, cost in (several or {}).items()}
    planned = _planned_runs(runs, by_run)
    schedule = make_schedule(planned, Machine((), [0.0] * len(device_slots), 0.0))
    results_bytes, checkpoint_bytes = _disk(kinds, schedule, len(device_slots))
    return Estimate(
        kinds=tuple(_summarize(kind, schedule, costs[id(kind)] is None) for kind in kinds),
        slots=len(device_slots),
        device=device.type,
        threads=threads,
        busy_hours=make_schedule(planned, Machine((), [0.0], 0.0)).end / 3600,
        wall_hours=schedule.end / 3600,
        results_bytes=results_bytes,
        checkpoint_bytes=checkpoint_bytes,
        teacher_cache_bytes=int(matrix.run.teacher_cache_gb * 1e9),
    )


def _planned_runs(runs: Sequence[QueuedRun], costs: Mapping[str, RunCost]) -> list[PlannedRun]:
    """Return the planned runs; one that does not fit into memory takes no time."""
    pending = {run.id for run in runs}
    none = RunCost(0.0, 0.0)
    return make_planned_runs({run: run.needs & pending for run in runs}, lambda run: costs.get(run, none))


def _summarize(kind: Kind, schedule: Schedule, is_too_large: bool) -> KindEstimate:
    runs = {run.id for run in kind.runs}
    parts = [part for part in schedule.parts if part.runs[-1] in runs]
    epochs = kind.first.recipe.epochs
    return KindEstimate(
        kind=str(kind),
        cohorts=len(parts),
        runs=len(kind.runs),
        steps=kind.steps,
        epochs=epochs,
        epoch_seconds=None if is_too_large else max((part.seconds for part in parts), default=0.0) / max(1, epochs),
        hours=None if is_too_large else sum(part.seconds for part in parts) / 3600,
    )


def _costs(kind: Kind, device: torch.device, options: Options) -> dict[str, RunCost] | None:
    """Return what an epoch of each run costs; None if a run does not fit into memory."""
    costs: dict[Hashable, RunCost] = {}
    try:
        for run in kind.runs:
            if _cost_key(run) not in costs:
                step = measure_step_cost(run, kind.task, kind.validation, device, options)
                costs[_cost_key(run)] = RunCost(kind.steps * step.own + step.evaluation, kind.steps * step.shared)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        clear_frames(error)  # they hold the networks
        return None
    finally:
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
    return {run.id: costs[_cost_key(run)] for run in kind.runs}


def _cost_key(run: RunSpec) -> Hashable:
    """Return a key that is equal for runs of a kind that cost the same."""
    needs = tuple((role, need.student.canonical) for role, need in run.needs)
    peers = tuple(peer.canonical for peer in run.peers)
    return run.student.canonical, run.method, needs, peers, run.recipe.optimizer.name


def _disk(kinds: Sequence[Kind], schedule: Schedule, slot_count: int) -> tuple[int, int]:
    """Return the bytes of all weights, and of two checkpoints of the largest cohorts that train side by side.

    A checkpoint holds weights, moments and the best epoch's weights: about four times the weights.
    """

    @cache
    def weights(network: NetworkSpec, task: Task) -> int:
        with torch.device("meta"):
            state: Mapping[str, torch.Tensor] = models.build_from_spec(network.untrained(), task).state_dict()
        return sum(value.numel() * value.element_size() for value in state.values())

    def run_bytes(run: RunSpec, task: Task) -> int:
        return sum(weights(network, task) for network in (run.student, *run.peers))

    sizes = {run.id: run_bytes(run, kind.task) for kind in kinds for run in kind.runs}
    cohorts = [sum(sizes[run] for run in part.runs) for part in schedule.parts]
    return sum(cohorts), 2 * 4 * sum(sorted(cohorts)[-slot_count:])
