"""The coordinator: hands cohorts to workers until every run has ended, then has the deployed networks timed."""

import selectors
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

from kdbench.errors import KdbenchError
from kdbench.matrix import RunSpec
from kdbench.queue.cohorts import Item, cohorts
from kdbench.queue.devices import Slot
from kdbench.queue.worker import Worker
from kdbench.results import Store
from kdbench.results.provenance import now, provenance

ATTEMPTS = 2
Listener = Callable[[Mapping[str, Any]], None]


@final
class Scheduler:
    """Trains what is waiting among the items, in their order, a cohort per free slot.

    The results folder is the state: a run that somebody else finishes meanwhile counts as done, and one that somebody
    else trains is waited for.
    """

    def __init__(self, items: Sequence[Item], store: Store, slots: Sequence[Slot], listener: Listener) -> None:
        self._waiting = {item.spec.id: item for item in items if not store.is_finished(item.spec.id)}
        self._items = items
        self._store = store
        self._slots = slots
        self._listener = listener
        self._workers: list[Worker] = []
        self._attempts: Counter[str] = Counter()
        self._elsewhere: set[str] = set()
        self._done: set[str] = set()
        self._started = 0

    def run(self) -> None:
        """Train everything that can be trained, then time what was deployed.

        Raises:
            KdbenchError: a worker cannot read or write what all of them need.
        """
        try:
            while self._waiting:
                self._look_for_finished()
                self._hand_out()
                if not self._busy() and not self._elsewhere:
                    break
                self._listen()
            self._time_deployed()
        finally:
            for worker in self._workers:
                worker.close()

    def _busy(self) -> list[Worker]:
        return [worker for worker in self._workers if not worker.idle]

    def _look_for_finished(self) -> None:
        """Runs that another process on this folder has finished."""
        for run in list(self._elsewhere):
            if self._store.is_finished(run):
                self._ended(run)
            elif self._store.state(run) == "waiting":
                self._elsewhere.discard(run)

    def _ended(self, run: str) -> None:
        self._waiting.pop(run, None)
        self._elsewhere.discard(run)

    def _hand_out(self) -> None:
        training = {run for worker in self._workers for run in worker.runs}
        free = [worker for worker in self._workers if worker.idle]
        places = len(free) + len(self._slots) - len(self._workers)
        if not places:
            return
        ready = [
            item
            for run, item in self._waiting.items()
            if run not in training and run not in self._elsewhere and self._is_ready(item.spec)
        ]
        for cohort in cohorts(ready, places)[:places]:
            worker = free.pop() if free else self._start()
            worker.train([item.spec for item in cohort])
            self._listener({"event": "cohort", "runs": list(worker.runs)})

    def _is_ready(self, spec: RunSpec) -> bool:
        return all(self._is_done(need.id) for _, need in spec.needs)

    def _is_done(self, run: str) -> bool:
        """Whether a run has ended well; one that this queue still waits for has not, and needs no look at the disk."""
        if run in self._waiting:
            return False
        if run not in self._done and self._store.state(run) == "done":
            self._done.add(run)
        return run in self._done

    def _start(self) -> Worker:
        taken = {worker.place for worker in self._workers}
        place = next(place for place in range(len(self._slots)) if place not in taken)
        self._started += 1
        worker = Worker(self._slots[place], place, self._store, self._started)
        self._workers.append(worker)
        return worker

    def _listen(self, timeout: float = 1.0) -> None:
        """Wait for what the workers have to tell, and act on it."""
        with selectors.DefaultSelector() as selector:
            for worker in self._workers:
                selector.register(worker.output, selectors.EVENT_READ, worker)
            ready = [key.data for key, _ in selector.select(timeout)]
        for worker in ready:
            events = worker.events()
            if events is None:
                self._bury(worker)
                continue
            for event in events:
                self._hear(event)

    def _hear(self, event: Mapping[str, Any]) -> None:
        match event["event"]:
            case "done" | "failed":
                self._ended(event["run"])
            case "taken":
                self._elsewhere.add(event["run"])
            case "error":
                raise KdbenchError(event["error"])
        self._listener(event)

    def _bury(self, worker: Worker) -> None:
        """A worker died: its runs have used up one attempt."""
        self._workers.remove(worker)
        reason = worker.death()
        worker.close()
        for run in worker.runs:
            if self._store.is_finished(run):
                self._ended(run)
                continue
            self._attempts[run] += 1
            if self._attempts[run] >= ATTEMPTS:
                row = {"finished": now(), **provenance()}
                self._store.write_result(run, {"status": "failed", "error": reason, "row": row})
                self._hear({"event": "failed", "run": run, "error": reason})

    def _time_deployed(self) -> None:
        """One network after the other, nothing else running, on the slot that a run of it may have used."""
        untimed = self._untimed()
        if not untimed:
            return
        for worker in self._workers[1:]:
            worker.close()
        self._workers = self._workers[:1] or [self._start()]
        for spec in untimed.values():
            self._listener({"event": "timing", "run": spec.id, "student": spec.student.name})
            self._until_idle()
            self._workers[0].time(spec)
        self._until_idle()

    def _until_idle(self) -> None:
        while self._workers and not self._workers[0].idle:
            self._listen()
        if not self._workers:
            raise KdbenchError("the worker that times inference died; run the same command again to repeat that part")

    def _untimed(self) -> dict[str, RunSpec]:
        """A run of each deployed architecture whose inference has not been timed yet."""
        found: dict[str, RunSpec] = {}
        for item in self._items:
            result = self._store.result(item.spec.id)
            key = (result or {}).get("architecture")
            if key and self._store.timing(key) is None:
                found.setdefault(key, item.spec)
        return found
