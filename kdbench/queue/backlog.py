"""The runs that are not finished, as the results folder has them: which are ready, and which another process trains."""

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import final

from kdbench.queue.queued_run import QueuedRun
from kdbench.results import Store


@final
class Backlog:
    """The unfinished runs of a command.

    A run that another process finishes counts as finished; a run that another process trains is not ready.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._runs: dict[str, QueuedRun] = {}
        self._unfinished: dict[str, QueuedRun] = {}
        self._elsewhere: set[str] = set()
        self._done: set[str] = set()

    def add(self, runs: Iterable[QueuedRun]) -> None:
        """Add runs, finished or not."""
        for run in runs:
            self._runs[run.id] = run
            if not self._store.is_finished(run.id):
                self.requeue(run.id)

    @property
    def runs(self) -> dict[str, QueuedRun]:
        """All runs that were added, by id."""
        return self._runs

    @property
    def unfinished(self) -> dict[str, QueuedRun]:
        """The runs that are not finished, by id."""
        return self._unfinished

    @property
    def elsewhere(self) -> frozenset[str]:
        """The runs that another process trains."""
        return frozenset(self._elsewhere)

    def requeue(self, run: str) -> None:
        """Add a run again, with the next epoch that its checkpoints give."""
        self._done.discard(run)
        self._elsewhere.discard(run)
        self._unfinished[run] = replace(self._runs[run], epoch=self._store.next_epoch(run))

    def finish(self, run: str) -> None:
        """Remove a finished run."""
        self._unfinished.pop(run, None)
        self._elsewhere.discard(run)

    def take_elsewhere(self, run: str) -> None:
        """Mark a run as one that another process trains."""
        self._elsewhere.add(run)

    def check_elsewhere(self) -> list[str]:
        """Requeue the runs that another process has stopped training; return those that it has finished."""
        finished = [run for run in self._elsewhere if self._store.is_finished(run)]
        for run in self._elsewhere.difference(finished):
            if self._store.state(run) == "pending":
                self.requeue(run)
        return finished

    def requeue_needs(self, run: str) -> bool:
        """Requeue the needs of a run that are no longer done (corrupted and quarantined); return whether any is."""
        lost = [need for need in self._runs[run].needs if self._store.state(need) != "done"]
        for need in lost:
            self._done.discard(need)
            if need in self._runs and not self._store.is_finished(need):
                self.requeue(need)
        return bool(lost)

    def has_ready(self, training: Collection[str]) -> bool:
        """Return whether a run can be dispatched, besides those in `training`."""
        busy = self._elsewhere.union(training)
        return any(run not in busy and not self.open_needs(queued) for run, queued in self._unfinished.items())

    def open_needs(self, run: QueuedRun) -> frozenset[str]:
        """Return the needs of a run that are not done."""
        return frozenset(need for need in run.needs if not self._is_done(need))

    def _is_done(self, run: str) -> bool:
        if run in self._unfinished:
            return False  # without reading the disk
        if run not in self._done and self._store.state(run) == "done":
            self._done.add(run)
        return run in self._done
