"""Jobs in processes of this machine, one on each slot."""

import selectors
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import final

from kdbench.errors import ResultsError
from kdbench.events import Event, WorkerDied
from kdbench.queue.devices import Slot, has_free_memory
from kdbench.queue.executors.base import Job
from kdbench.queue.executors.worker_process import Worker
from kdbench.results import Store

GRACE = 5.0  # seconds that a worker has to leave when it is asked to


@final
class LocalExecutor:
    """Worker processes on slots; they are kept between jobs, and a dead one is followed by a new one."""

    def __init__(self, slots: Sequence[Slot], store: Store) -> None:
        self._slots = slots
        self._store = store
        self._workers: dict[int, Worker] = {}  # by their place among the slots

    def capacity(self) -> int:
        """How many jobs can begin now."""
        return len(self._open())

    def submit(self, job: Job) -> None:
        """Begin a job, in a worker that is there already if one is free."""
        free = self._open() or [place for place in range(len(self._slots)) if not self._is_busy(place)]
        place = next((place for place in free if place in self._workers), free[0])
        if place not in self._workers:
            self._workers[place] = Worker(self._slots[place], self._store)
        self._workers[place].begin(job)

    def poll(self, timeout: float) -> list[Event]:
        """What the workers have told; the dead are taken away."""
        with selectors.DefaultSelector() as selector:
            for worker in self._workers.values():
                selector.register(worker.output, selectors.EVENT_READ)
            selector.select(timeout)
        told: list[Event] = []
        for place, worker in list(self._workers.items()):
            told += worker.events()
            if worker.has_ended:
                told += self._reap(place)
        return told

    def cancel(self, job: int) -> None:
        """Kill the worker of a job."""
        for worker in self._workers.values():
            if worker.job is not None and worker.job.id == job:
                worker.kill()

    def close(self, now: bool = False) -> None:
        """End all workers side by side."""
        for worker in self._workers.values():
            worker.ask_to_leave()
        deadline = time.monotonic() + (0 if now else GRACE)
        for worker in self._workers.values():
            worker.end(deadline)
        workers = list(self._workers.values())
        self._workers.clear()
        with suppress(ResultsError):  # a full disk is told elsewhere
            for worker in workers:
                worker.write_down()

    def _reap(self, place: int) -> list[Event]:
        worker = self._workers.pop(place)
        job, reason = worker.job, worker.death()
        worker.end(time.monotonic())
        worker.write_down()
        if job is None:
            return []
        return [WorkerDied(job.id, job.runs, reason, worker.ready)]

    def _is_busy(self, place: int) -> bool:
        return place in self._workers and self._workers[place].job is not None

    def _open(self) -> list[int]:
        """The places where a job can begin now; on a GPU that is busy already, one more if there is room."""
        found: list[int] = []
        for place, slot in enumerate(self._slots):
            if not self._is_busy(place) and (slot.gpu is None or self._takes_one_more(slot.gpu, found)):
                found.append(place)
        return found

    def _takes_one_more(self, gpu: str, chosen: Sequence[int]) -> bool:
        if any(self._slots[place].gpu == gpu for place in chosen):
            return False
        busy = [w for place, w in self._workers.items() if self._slots[place].gpu == gpu and self._is_busy(place)]
        return not busy or (all(worker.has_trained for worker in busy) and has_free_memory(gpu))
