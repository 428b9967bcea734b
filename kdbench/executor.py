"""The executor of a matrix. Its workers start before the matrix is planned, and import torch meanwhile."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import final

from kdbench.errors import KdbenchError
from kdbench.matrix.schema import RunOptions
from kdbench.queue.devices import find_slots
from kdbench.queue.executors.base import Executor
from kdbench.queue.executors.local import LocalExecutor
from kdbench.queue.executors.ray import RayExecutor
from kdbench.queue.signals import sigterm_as_interrupt
from kdbench.results import Store
from kdbench.worker.remote import run_remote_job


@final
@dataclass(frozen=True)
class Ray:
    """A Ray cluster at an address; without one, a new cluster of this machine alone."""

    address: str | None = None


@contextmanager
def start_workers(options: RunOptions, store: Store) -> Iterator[Executor]:
    """Start the workers of a matrix on this machine; those that are left at the end of the block are killed.

    SIGTERM raises KeyboardInterrupt inside the block.

    Args:
        options: the `[run]` table of the matrix.
        store: the results folder.

    Raises:
        StorageError: the results folder is not writable.
        KdbenchError: as for `create_executor`; or no worker can start.
    """
    store.check_writable()
    executor = create_executor(options, store)
    with sigterm_as_interrupt():
        try:
            executor.start()
            yield executor
        finally:
            executor.close(kill=True)


def create_executor(options: RunOptions, store: Store, cluster: Ray | None = None) -> Executor:
    """Return an executor on the device slots of this machine, or on a Ray cluster; start no worker.

    Raises:
        KdbenchError: the requested device is missing, the cluster is unreachable, or the runs in the results folder
            have another number of threads.
    """
    threads = check_threads(options.threads, store.threads, store)
    if cluster is not None:
        return RayExecutor(store, cluster.address, options.devices, threads, run_remote_job)
    return LocalExecutor(find_slots(options.devices, options.workers, threads, options.runs_per_device), store)


def check_threads(requested: int | None, recorded: int | None, store: Store) -> int:
    """Return the threads per worker: those that the results folder records, else those that the matrix requests.

    Raises:
        KdbenchError: the results folder records another number than the requested one.
    """
    if requested is not None and recorded not in (None, requested):
        raise KdbenchError(
            f"run.threads is {requested}, but the runs in {store.root} were trained with {recorded} per worker, and "
            f"the numbers depend on it; set run.threads = {recorded}, or choose another results folder with --results"
        )
    return recorded or requested or 1
