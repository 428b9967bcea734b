"""A worker process as its coordinator sees it."""

import itertools
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import final

from kdbench.errors import KdbenchError
from kdbench.events import EpochEnded, Event, JobEnded, RunTakenElsewhere, WorkerReady, from_json
from kdbench.queue.devices import Slot
from kdbench.queue.executors.base import Job, worker_environment
from kdbench.results import Store
from kdbench.results.files import writable
from kdbench.results.worker_logs import size, tail, tell_printed

LARGEST_JOB = 2**20  # bytes that a worker which is still starting can be sent without waiting for it
_numbers = itertools.count(1)


@final
class Worker:
    """One process on one slot, the leader of a group of its own; it ends when its standard input does.

    Raises:
        KdbenchError: the system starts no further process, or the results folder cannot be written to.
    """

    def __init__(self, slot: Slot, store: Store) -> None:
        self.job: Job | None = None
        self.ready = False
        self.has_trained = False  # an epoch of the present job: its memory is what it will be
        self.has_ended = False
        self._store = store
        self._taken: set[str] = set()  # runs of the present job that somebody else trains
        self._since = 0  # the byte of the log at which the present job begins
        self._partial = b""
        self.log = _new_log(store.root / "workers")
        with self.log.open("wb") as log:
            try:
                self._process = subprocess.Popen(
                    _command(slot, store.root, self.log),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env=_environment(slot),
                    start_new_session=True,
                    pipesize=LARGEST_JOB,
                )
            except OSError as error:
                raise KdbenchError(f"no worker process can be started ({error}); lower run.workers") from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.output = self._process.stdout
        self._input = self._process.stdin
        os.set_blocking(self.output.fileno(), False)

    def begin(self, job: Job) -> None:
        """Give it a job; what it is given before it has started waits for it."""
        self.job, self.has_trained = job, False
        self._since = size(self.log) if self.ready else 0
        self._taken.clear()
        with suppress(BrokenPipeError):  # its death is seen when its events are read
            self._input.write(json.dumps(job.message()).encode() + b"\n")
            self._input.flush()

    def events(self) -> list[Event]:
        """What it has told since the last call."""
        ended = self._process.poll() is not None  # asked before reading, so that nothing is missed
        data = self.output.read()  # None: nothing now; empty: the end, unless a child of its own keeps that open
        self.has_ended = ended or data == b""
        *lines, self._partial = (self._partial + (data or b"")).split(b"\n")
        return [self._handle(from_json(json.loads(line))) for line in lines if line]

    def _handle(self, event: Event) -> Event:
        match event:
            case WorkerReady():
                self.ready = True
            case EpochEnded():
                self.has_trained = True
            case RunTakenElsewhere(run):
                self._taken.add(run)
            case JobEnded():
                self.job = None
        return event

    def ask_to_leave(self) -> None:
        """End its input, and send SIGTERM to its group."""
        with suppress(BrokenPipeError):  # a job that a dead worker never read
            self._input.close()
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End its whole group at once."""
        self._signal(signal.SIGKILL)

    def end(self, deadline: float) -> None:
        """Wait for its end until then (time.monotonic), then kill what is left of its group."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=max(0.0, deadline - time.monotonic()))
        self.kill()
        self._process.wait()
        with suppress(BrokenPipeError):
            self._input.close()
        self.output.close()

    def death(self) -> str:
        """How it died, and the last lines of its log."""
        with suppress(subprocess.TimeoutExpired):  # one that only closed its output
            self._process.wait(timeout=1)
        self.kill()
        code = self._process.wait()
        how = f"signal {-code}" if code < 0 else f"exit status {code}"
        return f"the worker died ({how}); its log {self.log} ends: {tail(self.log)}"

    def write_down(self) -> None:
        """Copy what it printed during the job that it did not finish into the logs of the job's runs.

        Raises:
            ResultsError: a log cannot be written to.
        """
        if self.job is not None and self.job.kind == "train":
            mine = [run for run in self.job.runs if run not in self._taken]
            tell_printed(self._store, mine, self.log, self._since)

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):  # nobody is left of it
            os.killpg(self._process.pid, number)


def _new_log(folder: Path) -> Path:
    """An empty file of a name that was not there: after a reboot a process may have the id of an older one."""
    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        while True:
            log = folder / f"{platform.node()}-{os.getpid()}-{next(_numbers)}.log"
            with suppress(FileExistsError):
                log.open("xb").close()
                return log


def _command(slot: Slot, results: Path, log: Path) -> list[str]:
    arguments = ["--results", str(results), "--device", slot.device, "--threads", str(slot.threads), "--log", str(log)]
    return [sys.executable, "-P", "-m", "kdbench.worker", *arguments]


def _environment(slot: Slot) -> Mapping[str, str]:
    """This process's environment, with what the slot and a worker need."""
    return {**os.environ, **slot.environment, **worker_environment(slot.threads), "PYTHONUNBUFFERED": "1"}
