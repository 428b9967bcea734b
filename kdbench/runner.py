"""A plan to its results: what `run` and `tune` have in common."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import final

from kdbench.errors import KdbenchError
from kdbench.events import EventHandler, WarningIssued
from kdbench.plan import Plan, batches_key
from kdbench.queue.devices import find_slots
from kdbench.queue.executors.base import Executor
from kdbench.queue.executors.local import LocalExecutor
from kdbench.queue.executors.ray import RayExecutor
from kdbench.queue.grouping import QueuedRun
from kdbench.queue.scheduler import Limits, Scheduler
from kdbench.queue.signals import Interrupts
from kdbench.results import Store
from kdbench.results.corrupt_files import corrupt_files
from kdbench.results.table import export
from kdbench.worker.options import Options
from kdbench.worker.remote import work

FOR_WORKERS = {field.name for field in fields(Options)}


@final
@dataclass(frozen=True)
class Ray:
    """A Ray cluster at an address; without one, a cluster of this machine alone."""

    address: str | None = None


def run_plan(plan: Plan, store: Store, on_event: EventHandler, executor: Executor | Ray | None = None) -> None:
    """Train what a plan still lacks, and derive the tables.

    `on_event` is called with every cohort, epoch, end and failure; `executor` is where it is done, this machine if not
    given. While it works, Ctrl-C and SIGTERM end the workers in order; a second one ends them at once, and then no
    table is derived.

    Raises:
        ResultsError: the results folder cannot be written to.
        KdbenchError: no device of the kind asked for, or no worker can go on.
        KeyboardInterrupt: it was interrupted.
    """
    store.check_writable()
    for warning in _damage(plan, store):
        on_event(warning)
    options = plan.matrix.run
    threads = store.setting("threads", options.threads or 1)
    if options.threads not in (None, threads):
        raise KdbenchError(
            f"run.threads is {options.threads}, but the runs in {store.root} were trained with {threads} per worker, "
            "and the numbers depend on it; keep that, or choose another results folder with --results"
        )
    if executor is None:
        executor = LocalExecutor(find_slots(options.devices, options.workers, threads, options.runs_per_device), store)
    elif isinstance(executor, Ray):
        executor = RayExecutor(store, executor.address, options.devices, threads, work)
    store.write_index(plan.index())
    items = [QueuedRun(spec, batches_key(spec)) for spec in plan.runs]
    limits = Limits(options.time_limit, options.model_dump(include=FOR_WORKERS))
    with Interrupts() as interrupts:
        try:
            Scheduler(items, store, executor, on_event, limits, interrupts).run()
        finally:
            if not interrupts.again:
                for text in export(store):
                    on_event(WarningIssued(text))


def _damage(plan: Plan, store: Store) -> Iterator[WarningIssued]:
    """Warnings of what is corrupted; such runs of the plan are put aside, so that they are repeated."""
    for run, why in store.quarantine_corrupted(spec.id for spec in plan.runs):
        yield WarningIssued(why, run)
    for text in corrupt_files(store):
        yield WarningIssued(text)
