"""Runs jobs in worker processes on this machine, one per device slot."""

import selectors
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import final

from kdbench.errors import StorageError
from kdbench.events import Event, WorkerDied
from kdbench.queue.devices import Slot, has_free_memory, timing_environments
from kdbench.queue.executors.base import Job
from kdbench.queue.executors.worker_process import WorkerProcess
from kdbench.results import Store
from kdbench.results.timings import TimingEnvironment

EARLY_WORKERS = 8  # before the number of runs is known; each takes hundreds of megabytes
EXIT_SECONDS = 5.0  # time to exit after SIGTERM


@final
class LocalExecutor:
    """Runs jobs in worker processes; a worker stays for the next job, and a dead one is replaced."""

    def __init__(self, slots: Sequence[Slot], store: Store) -> None:
        self._slots = slots
        self._store = store
        self._workers: dict[int, WorkerProcess] = {}  # index of a slot -> its worker

    def environments(self) -> Sequence[TimingEnvironment]:
        """Return the environments of the slots."""
        return timing_environments(self._slots)

    def start(self) -> None:
        """Start a worker on each slot that has none, but only on the first `EARLY_WORKERS` ones."""
        for slot in range(len(self._slots[:EARLY_WORKERS])):
            self._start_worker(slot)

    def slot_count(self) -> int:
        """Return the number of slots."""
        return len(self._slots)

    def free_slots(self) -> int:
        """Return the number of jobs that can start now."""
        return len(self._free())

    def submit(self, job: Job) -> None:
        """Start a job, in an idle worker if there is one."""
        free = self._free() or [slot for slot in range(len(self._slots)) if not self._is_busy(slot)]
        slot = next((slot for slot in free if slot in self._workers), free[0])
        self._start_worker(slot)
        self._workers[slot].start(job)

    def poll(self, timeout: float) -> list[Event]:
        """Return the events of the workers since the last call, and reap dead workers."""
        with selectors.DefaultSelector() as selector:
            for worker in self._workers.values():
                selector.register(worker.output, selectors.EVENT_READ)
            selector.select(timeout)
        events: list[Event] = []
        for slot, worker in list(self._workers.items()):
            events += worker.read_events()
            if worker.has_ended:
                events += self._reap(slot)
        return events

    def give_away(self, job: int, runs: Sequence[str]) -> None:
        """Request that the worker of a job gives some of its runs away."""
        for worker in self._workers_of(job):
            worker.give_away(runs)

    def cancel(self, job: int) -> None:
        """Kill the worker of a job."""
        for worker in self._workers_of(job):
            worker.kill()

    def close(self, kill: bool = False) -> None:
        """Stop all workers at the same time."""
        for worker in self._workers.values():
            worker.terminate()
        deadline = time.monotonic() + (0 if kill else EXIT_SECONDS)
        for worker in self._workers.values():
            worker.wait(deadline)
        workers = list(self._workers.values())
        self._workers.clear()
        with suppress(StorageError, OSError):  # a full disk has already failed the job that wrote to it
            for worker in workers:
                worker.copy_log()
                worker.remove_unused_log()

    def _start_worker(self, slot: int) -> None:
        if slot not in self._workers:
            self._workers[slot] = WorkerProcess(self._slots[slot], self._store)

    def _workers_of(self, job: int) -> list[WorkerProcess]:
        """Return the worker of a job, or none if the job has ended."""
        return [worker for worker in self._workers.values() if worker.job is not None and worker.job.id == job]

    def _reap(self, slot: int) -> list[Event]:
        worker = self._workers.pop(slot)
        job, reason = worker.job, worker.death_reason()
        worker.wait(time.monotonic())
        worker.copy_log()
        return [] if job is None else [WorkerDied(job.id, worker.runs, reason, worker.is_ready)]

    def _is_busy(self, slot: int) -> bool:
        return slot in self._workers and self._workers[slot].job is not None

    def _free(self) -> list[int]:
        """Return the indices of the slots on which a job can start now: on each GPU at most one."""
        free: list[int] = []
        for index, slot in enumerate(self._slots):
            if not self._is_busy(index) and (slot.gpu is None or self._can_start_on(slot.gpu, free)):
                free.append(index)
        return free

    def _can_start_on(self, gpu: str, free: Sequence[int]) -> bool:
        """Return whether a GPU is idle, or its workers have trained an epoch and leave enough memory."""
        if any(self._slots[index].gpu == gpu for index in free):
            return False
        busy = [w for index, w in self._workers.items() if self._slots[index].gpu == gpu and self._is_busy(index)]
        return not busy or (all(worker.has_trained for worker in busy) and has_free_memory(gpu))
