"""Trains a plan: what `run` and `tune` share."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import final

from kdbench.errors import KdbenchError
from kdbench.events import EventHandler, WarningIssued
from kdbench.plan import Plan, batches_key
from kdbench.plan.choice import choose_configurations, choose_finished
from kdbench.queue.devices import find_slots
from kdbench.queue.executors.base import Executor
from kdbench.queue.executors.local import LocalExecutor
from kdbench.queue.executors.ray import RayExecutor
from kdbench.queue.grouping import QueuedRun
from kdbench.queue.scheduler import Limits, Scheduler
from kdbench.queue.signals import Interrupts
from kdbench.results import MatrixIndex, Store
from kdbench.results.integrity import corrupt_files
from kdbench.results.table import export
from kdbench.worker.options import Options
from kdbench.worker.remote import run_remote_job

OnPlan = Callable[[Plan], EventHandler]
WORKER_OPTIONS = {field.name for field in fields(Options)}


@final
@dataclass(frozen=True)
class Ray:
    """A Ray cluster at an address; without one, a new cluster of this machine alone."""

    address: str | None = None


def train(plan: Plan, store: Store, on_plan: OnPlan, executor: Executor | Ray | None = None) -> Plan:
    """Train a matrix: first the runs of the search, if there is one, then all others; return what was trained.

    Args:
        plan: the runs of the matrix.
        store: the results folder.
        on_plan: called with the plan of each phase before it is trained; returns the handler of its events.
        executor: as for `run_plan`.

    Raises:
        KdbenchError, KeyboardInterrupt: as for `run_plan`.
    """
    plan = choose_finished(plan, store)
    if plan.undecided:
        search = plan.search()
        on_event = on_plan(search)
        run_plan(search, store, on_event, executor, index=plan.index())
        plan = choose_configurations(plan, store)
        for warning in _warn_of_undecided(plan):
            on_event(warning)
    run_plan(plan, store, on_plan(plan), executor)
    return plan


def _warn_of_undecided(plan: Plan) -> Iterator[WarningIssued]:
    for sweep in plan.undecided:
        cell = sweep.search[0]
        where = f"{cell.label} on {cell.dataset.name}, {cell.pair.teacher} -> {cell.pair.student}"
        yield WarningIssued(f"{where}: no configuration is chosen, because all failed on protocol.search_seeds")


def run_plan(
    plan: Plan,
    store: Store,
    on_event: EventHandler,
    executor: Executor | Ray | None = None,
    index: MatrixIndex | None = None,
) -> None:
    """Train the pending runs of a plan and export the tables.

    The first Ctrl-C or SIGTERM stops the workers and exports the tables; the second one kills the workers and exports
    nothing.

    Args:
        plan: the runs.
        store: the results folder.
        on_event: called with each event, in this thread.
        executor: where jobs run; by default on the device slots of this machine.
        index: the index of the matrix, if the plan is a part of it.

    Raises:
        ResultsError: the results folder is not writable.
        KdbenchError: the requested device is missing, or workers fail for a reason that would fail every job.
        KeyboardInterrupt: the user interrupted the command.
    """
    store.check_writable()
    for warning in _quarantine(plan, store):
        on_event(warning)
    threads = _choose_threads(plan, store)
    if executor is None or isinstance(executor, Ray):
        executor = _create_executor(plan, store, threads, executor)
    store.write_index(index or plan.index())
    runs = [QueuedRun(spec, batches_key(spec)) for spec in plan.runs]
    limits = Limits(plan.matrix.run.time_limit, plan.matrix.run.model_dump(include=WORKER_OPTIONS))
    with Interrupts() as interrupts:
        try:
            Scheduler(runs, store, executor, on_event, limits, interrupts).run()
        finally:
            if not interrupts.is_kill_requested:
                for text in export(store)[1]:
                    on_event(WarningIssued(text))


def _quarantine(plan: Plan, store: Store) -> Iterator[WarningIssued]:
    """Quarantine the plan's corrupted runs, so that they train again; yield a warning for each corrupted file."""
    for run, reason in store.quarantine_corrupted(spec.id for spec in plan.runs):
        yield WarningIssued(reason, run)
    for text in corrupt_files(store):
        yield WarningIssued(text)


def _create_executor(plan: Plan, store: Store, threads: int, cluster: Ray | None) -> Executor:
    options = plan.matrix.run
    if cluster is not None:
        return RayExecutor(store, cluster.address, options.devices, threads, run_remote_job)
    return LocalExecutor(find_slots(options.devices, options.workers, threads, options.runs_per_device), store)


def _choose_threads(plan: Plan, store: Store) -> int:
    """Return the threads per worker: chosen by the first run in a results folder, then fixed."""
    requested = plan.matrix.run.threads
    threads = store.fix_threads(requested or 1)
    if requested not in (None, threads):
        raise KdbenchError(
            f"run.threads is {requested}, but the runs in {store.root} were trained with {threads} per worker, and the "
            f"numbers depend on it; set run.threads = {threads}, or choose another results folder with --results"
        )
    return threads
