"""Measure the cost of each kind of run and add up.

The queue's rules group the pending runs into cohorts. Runs of a kind (same batch shape and recipe, same networks,
method and optimizer) cost the same, so one of each kind is measured: a few steps on random images with random weights
(`kdbench.worker.step_cost`). A cohort takes the shared seconds of a step once, and the sum of its members' own. The
wall time is that of a list schedule of these cohorts on the machine's device slots.
"""

import gc
from collections.abc import Hashable, Mapping, Sequence
from functools import cache
from pathlib import Path

import torch

from kdbench import models
from kdbench.estimate import Estimate, KindEstimate
from kdbench.estimate.kinds import Kind, find_pending, group_by_kind
from kdbench.estimate.schedule import simulate
from kdbench.matrix import NetworkSpec, RunSpec, load
from kdbench.plan import make_plan
from kdbench.queue.devices import find_slots
from kdbench.training.memory import clear_frames, is_out_of_memory
from kdbench.training.method import Task
from kdbench.worker.job_runner import set_up_torch
from kdbench.worker.options import Options
from kdbench.worker.step_cost import StepCost, measure_step_cost


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
    kinds = group_by_kind(runs, len(device_slots))
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


def _summarize(kind: Kind, epochs: Sequence[float] | None) -> KindEstimate:
    return KindEstimate(
        kind=str(kind),
        cohorts=len(kind.cohorts),
        runs=len(kind.runs),
        steps=kind.steps,
        epochs=kind.first.recipe.epochs,
        epoch_seconds=None if epochs is None else max(epochs),
        hours=None if epochs is None else sum(epochs) * kind.first.recipe.epochs / 3600,
    )


def _epoch_seconds(kind: Kind, device: torch.device, options: Options) -> list[float] | None:
    """Return the seconds of an epoch of each cohort; None if a run does not fit into memory."""
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
    """Return a key that is equal for runs of a kind that cost the same."""
    needs = tuple((role, need.student.canonical) for role, need in run.needs)
    peers = tuple(peer.canonical for peer in run.peers)
    return run.student.canonical, run.method, needs, peers, run.recipe.optimizer.name


def _cohort_seconds(steps: int, costs: Sequence[StepCost]) -> float:
    shared = max(cost.shared for cost in costs)  # a run without a teacher measures none
    return steps * (shared + sum(cost.own for cost in costs)) + sum(cost.evaluation for cost in costs)


def _disk(kinds: Sequence[Kind], slot_count: int) -> tuple[int, int]:
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

    cohorts = [sum(run_bytes(run, kind.task) for run in cohort) for kind in kinds for cohort in kind.cohorts]
    return sum(cohorts), 2 * 4 * sum(sorted(cohorts)[-slot_count:])
