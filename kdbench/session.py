"""A plan to its results: what `run` and `tune` have in common."""

from collections.abc import Callable, Mapping
from typing import Any

from kdbench.errors import KdbenchError
from kdbench.plan import Plan, batches_key
from kdbench.queue.cohorts import Item
from kdbench.queue.devices import slots
from kdbench.queue.scheduler import Scheduler
from kdbench.results import Store
from kdbench.results.table import export


def run_plan(plan: Plan, store: Store, listener: Callable[[Mapping[str, Any]], None]) -> None:
    """Train what a plan still lacks, and derive the tables.

    `listener` is told of every cohort, epoch, end and failure.

    Raises:
        ResultsError: the results folder cannot be written to.
        KdbenchError: no device of the kind asked for.
    """
    store.check_writable()
    options = plan.matrix.run
    threads = store.setting("threads", options.threads or 1)
    if options.threads not in (None, threads):
        raise KdbenchError(
            f"run.threads is {options.threads}, but the runs in {store.root} were trained with {threads} per worker, "
            "and the numbers depend on it; keep that, or choose another results folder with --results"
        )
    places = slots(options.devices, options.workers, threads)
    store.write_index(plan.index())
    items = [Item(spec, batches_key(spec)) for spec in plan.runs]
    try:
        Scheduler(items, store, places, listener).run()
    finally:
        export(store)
