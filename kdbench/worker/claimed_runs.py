"""The runs of a job that a worker has locked, until the job ends or a run is given away."""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import final

from filelock import FileLock

from kdbench.errors import KdbenchError, StorageError
from kdbench.events import EventHandler, RunDone, RunsGivenAway, RunTakenElsewhere
from kdbench.matrix import RunSpec
from kdbench.results import Store, worker_logs

Requests = Callable[[], Collection[str]]


@final
class ClaimedRuns:
    """The locks of a job's runs, and the output of the worker since the job started.

    Args:
        job: the id of the job.
        store: the results folder.
        on_event: called with `RunTakenElsewhere`, `RunDone` and `RunsGivenAway`.
        requested: returns the runs that the worker is to give away, at the time of the call.
        log: the file that the worker's output goes to; None if there is no such file.
    """

    def __init__(
        self,
        job: int,
        store: Store,
        on_event: EventHandler,
        requested: Requests = tuple,
        log: Path | None = None,
    ) -> None:
        self._job = job
        self._store = store
        self._emit = on_event
        self._requested = requested
        self._log = log
        self._log_start = worker_logs.size(log) if log is not None else 0
        self._locks: dict[str, FileLock] = {}
        self._given_away: set[str] = set()

    @contextmanager
    def claim(self, specs: Iterable[RunSpec]) -> Iterator[list[RunSpec]]:
        """Begin an attempt of those runs that are not finished and that no other process trains, and yield them.

        At the end of the block they are released, and the worker's output is copied into their logs. If the worker
        dies, the process that started it copies the output.
        """
        try:
            claimed = [spec for spec in specs if self._lock(spec.id)]
            for spec in claimed:
                self._store.begin_attempt(spec.id)
            if self._log is not None:
                worker_logs.log_start(self._store, self._locks, self._log, self._log_start)
            try:
                yield claimed
            except KdbenchError:
                with suppress(StorageError):  # the first error counts
                    self._copy_output(self._locks)
                raise
            self._copy_output(self._locks)
        finally:
            for lock in self._locks.values():
                lock.release()

    def is_given_away(self, run: str) -> bool:
        """Return whether a run was given away."""
        return run in self._given_away

    def unfinished(self, specs: Iterable[RunSpec]) -> list[RunSpec]:
        """Return those of the runs that have not ended and were not given away."""
        return [spec for spec in specs if spec.id not in self._given_away and not self._store.is_finished(spec.id)]

    def requested(self) -> set[str]:
        """Return the unfinished runs that the worker is to give away."""
        runs = self._locks.keys() & set(self._requested())
        return {run for run in runs if not self._store.is_finished(run)}

    def give_away(self, runs: Sequence[str], epoch: int) -> None:
        """Release runs whose checkpoints were written after `epoch` epochs; another worker continues their attempt."""
        self._copy_output(runs)
        for run in runs:
            self._store.log(run, f"given away after epoch {epoch}; another worker resumes the run")
            self._store.give_away(run)
            self._locks.pop(run).release()
        self._given_away.update(runs)
        self._emit(RunsGivenAway(self._job, tuple(runs), epoch))

    def give_away_waiting(self, runs: Iterable[str]) -> None:
        """Release runs that do not train at this time; their checkpoints, if any, are earlier ones."""
        by_epoch: dict[int, list[str]] = {}
        for run in sorted(runs):
            by_epoch.setdefault(self._store.next_epoch(run), []).append(run)
        for epoch, waiting in by_epoch.items():
            self.give_away(waiting, epoch)

    def _lock(self, run: str) -> bool:
        """Take the lock of a run; return whether the run is to be trained."""
        lock = self._store.claim(run)
        if lock is None:
            self._emit(RunTakenElsewhere(run))
        elif self._store.is_finished(run):
            lock.release()
            self._emit(RunDone(run))
        else:
            self._locks[run] = lock
        return run in self._locks

    def _copy_output(self, runs: Iterable[str]) -> None:
        if self._log is not None:
            worker_logs.log_output(self._store, runs, self._log, self._log_start)
