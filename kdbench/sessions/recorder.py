"""Writes what a command does to the results folder, every few seconds and at its end."""

import os
import platform
import secrets
import threading
from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, final

from kdbench.errors import StorageError
from kdbench.events import Event, EventHandler
from kdbench.results import Store
from kdbench.results.processes import pid_space
from kdbench.results.sessions import INTERVAL, Session, write_session
from kdbench.sessions.activity import Activity

if TYPE_CHECKING:
    from kdbench.plan import Plan


@final
class SessionRecorder:
    """Records the session of a command that trains a matrix, from its start to the end of the `with` block.

    A thread writes the file every few seconds. The file of a command that has trained nothing is removed at the end.
    Errors are left to the training, which writes to the same folder.

    Args:
        store: the results folder.
        matrix: the name of the matrix, until `observe` is called with its plan.
    """

    def __init__(self, store: Store, matrix: str) -> None:
        self.activity = Activity()
        self._matrix = matrix
        self._started = datetime.now(UTC)
        self._path = store.sessions / f"{self._started:%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}.json"
        self._has_ended = self._is_interrupted = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write_until_stopped, name="session", daemon=True)

    def __enter__(self) -> "SessionRecorder":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.activity.stop()
        self._stop.set()
        self._thread.join()
        self._has_ended, self._is_interrupted = True, kind is not None
        session = self.session()
        with suppress(StorageError, OSError):
            if session.has_trained:
                write_session(self._path, session)
            else:
                self._path.unlink(missing_ok=True)

    def observe(self, plan: "Plan", handler: EventHandler) -> EventHandler:
        """Return a handler of a plan's events that records each one before it calls `handler`."""
        self._matrix = plan.matrix.name
        self.activity.add_runs(plan.runs)

        def on_event(event: Event) -> None:
            self.activity.handle(event)
            handler(event)

        return on_event

    def session(self) -> Session:
        """Return what is recorded by now."""
        activity = self.activity
        return Session(
            matrix=self._matrix,
            host=platform.node(),
            pid=os.getpid(),
            pid_space=pid_space(),
            started=self._started,
            updated=datetime.now(UTC),
            wall_seconds=activity.wall_seconds,
            busy_seconds=activity.busy_seconds,
            slots=activity.slots,
            epochs=activity.epochs,
            done=activity.done,
            failed=activity.failed,
            has_ended=self._has_ended,
            is_interrupted=self._is_interrupted,
            seconds_left=None if self._has_ended else activity.seconds_left,
            workers=() if self._has_ended else activity.workers(),
        )

    def _write_until_stopped(self) -> None:
        while True:
            with suppress(StorageError):
                write_session(self._path, self.session())
            if self._stop.wait(INTERVAL):
                return
