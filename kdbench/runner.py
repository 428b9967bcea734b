"""Trains a plan: what `run` and `tune` share."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields
from typing import TYPE_CHECKING

from kdbench.errors import KdbenchError, StorageError
from kdbench.events import EventHandler, SlotsCounted, WarningIssued
from kdbench.executor import Ray, check_threads, create_executor
from kdbench.plan import Plan
from kdbench.plan.choice import choose_configurations, choose_finished
from kdbench.queue.costs import CostModel
from kdbench.queue.executors.base import Executor
from kdbench.queue.scheduler import Scheduler
from kdbench.queue.signals import Interrupts
from kdbench.queue.workload import Limits, Upcoming, Workload
from kdbench.results import Store
from kdbench.results.integrity import corrupt_files
from kdbench.worker.options import Options
from kdbench.workload import OnPlan, SearchedRuns, queue_runs

if TYPE_CHECKING:
    from kdbench.results.table import Row

WORKER_OPTIONS = {field.name for field in fields(Options)}


def train(
    plan: Plan, store: Store, on_plan: OnPlan, executor: Executor | Ray | None = None
) -> tuple[Plan, "list[Row]"]:
    """Train a matrix; return what was trained, and the rows of `results.parquet`.

    If the matrix has a search, the runs of each chosen configuration are added when the search of its label ends.

    Args:
        plan: the runs of the matrix.
        store: the results folder.
        on_plan: called with the plan before it is trained, and again with each plan that has more runs; returns the
            handler of the events that follow.
        executor: as for `run_plan`.

    Raises:
        KdbenchError, KeyboardInterrupt: as for `run_plan`.
    """
    searched = SearchedRuns(choose_finished(plan, store), store, on_plan)
    rows = run_plan(searched.plan, store, searched.on_event, executor, searched)
    trained = choose_configurations(searched.plan, store)  # also where a run of the search could not train
    if len(trained.undecided) < len(searched.plan.undecided):
        rows = run_plan(trained, store, on_plan(trained), executor)
    for warning in _warn_of_undecided(trained):
        searched.on_event(warning)
    return trained, rows


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
    upcoming: Upcoming | None = None,
) -> "list[Row]":
    """Train the pending runs of a plan and export the tables; return the rows of `results.parquet`.

    The first Ctrl-C or SIGTERM stops the workers and exports the tables; the second one kills the workers and exports
    nothing.

    Args:
        plan: the runs.
        store: the results folder.
        on_event: called with each event, in this thread.
        executor: where jobs run; by default on the device slots of this machine.
        upcoming: the runs that are added as others finish.

    Raises:
        StorageError: the results folder cannot be read or written.
        KdbenchError: the requested device is missing, or workers fail for a reason that would fail every job.
        KeyboardInterrupt: the user interrupted the command.
    """
    store.check_writable()
    for warning in _quarantine(plan, store):
        on_event(warning)
    if executor is None or isinstance(executor, Ray):
        executor = create_executor(plan.matrix.run, store, executor)
    _fix_threads(plan.matrix.run.threads, store, executor)
    on_event(SlotsCounted(executor.slot_count()))
    store.write_index(plan.index())
    workload = Workload(queue_runs(plan, plan.runs), _cost_model(store, executor), upcoming)
    limits = Limits(plan.matrix.run.time_limit, plan.matrix.run.model_dump(include=WORKER_OPTIONS))
    with Interrupts() as interrupts:
        try:
            Scheduler(workload, store, executor, on_event, limits, interrupts).run()
        except BaseException:
            if not interrupts.is_kill_requested:
                with suppress(StorageError):  # the first error counts
                    _export(store, on_event)
            raise
        return _export(store, on_event)


def _export(store: Store, on_event: EventHandler) -> "list[Row]":
    from kdbench.results.table import export  # not before training starts

    rows, warnings = export(store)
    for text in warnings:
        on_event(WarningIssued(text))
    return rows


def _quarantine(plan: Plan, store: Store) -> Iterator[WarningIssued]:
    """Quarantine the plan's corrupted runs, so that they train again; yield a warning for each corrupted file."""
    for run, reason in store.quarantine_corrupted(spec.id for spec in plan.runs):
        yield WarningIssued(reason, run)
    for text in corrupt_files(store):
        yield WarningIssued(text)


def _cost_model(store: Store, executor: Executor) -> CostModel:
    environments = executor.environments()
    name = "; ".join(map(str, environments)) or "Ray"
    is_cpu = all(environment.device == "cpu" for environment in environments)
    return CostModel(store, name, "cpu" if is_cpu else "cuda")


def _fix_threads(requested: int | None, store: Store, executor: Executor) -> None:
    """Record the threads per worker in the results folder, unless its first run has: then they are fixed."""
    threads = check_threads(requested, store.fix_threads(requested or 1), store)
    if any(environment.threads != threads for environment in executor.environments()):
        raise KdbenchError(
            f"another command has fixed the threads per worker of {store.root} at {threads} since this one started; "
            "rerun the command"
        )
