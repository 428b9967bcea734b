"""The handle of a worker process in the process that starts it."""

import itertools
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, final

from kdbench.errors import KdbenchError
from kdbench.events import EpochEnded, Event, JobEnded, RunsGivenAway, RunTakenElsewhere, WorkerReady, from_json
from kdbench.queue.devices import Slot
from kdbench.queue.executors.base import Job, worker_environment
from kdbench.results import Store
from kdbench.results.files import writable
from kdbench.results.worker_logs import log_output, size, tail

PIPE_BYTES = 2**20  # a job of this size can be written before the worker reads it
_numbers = itertools.count(1)


@final
class WorkerProcess:
    """A worker process on a slot. It leads its own process group and exits at the end of its standard input.

    Raises:
        KdbenchError: the process cannot start, or the results folder is not writable.
    """

    def __init__(self, slot: Slot, store: Store) -> None:
        self.job: Job | None = None
        self.is_ready = False
        self.has_trained = False  # an epoch of the current job, so its memory use has reached its peak
        self.has_ended = False
        self._store = store
        self._had_job = False
        self._elsewhere: set[str] = set()  # runs of the current job that another process trains or will train
        self._log_start = 0  # offset in the log at which the current job starts, in bytes
        self._partial_line = b""
        self.log = _create_log(store.root / "workers")
        with self.log.open("wb") as log:
            try:
                self._process = subprocess.Popen(
                    _command(slot, store.root, self.log),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env=_environment(slot),
                    start_new_session=True,
                    pipesize=PIPE_BYTES,
                )
            except OSError as error:
                raise KdbenchError(f"cannot start a worker process ({error}); lower run.workers") from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.output = self._process.stdout
        self._input = self._process.stdin
        os.set_blocking(self.output.fileno(), False)

    def start(self, job: Job) -> None:
        """Send a job; a worker that is still starting reads it later."""
        self.job, self.has_trained, self._had_job = job, False, True
        self._log_start = size(self.log) if self.is_ready else 0
        self._elsewhere.clear()
        self._send(job.to_json())

    def give_away(self, runs: Sequence[str]) -> None:
        """Send a request to give some runs of the current job away."""
        if self.job is not None:
            self._send({"give_away": list(runs), "job": self.job.id})

    @property
    def runs(self) -> tuple[str, ...]:
        """The runs of the current job, without those that were given away or that another process trains."""
        return tuple(run for run in self.job.runs if run not in self._elsewhere) if self.job is not None else ()

    def _send(self, message: Mapping[str, Any]) -> None:
        with suppress(BrokenPipeError):  # `has_ended` reports a dead worker
            self._input.write(json.dumps(message).encode() + b"\n")
            self._input.flush()

    def read_events(self) -> list[Event]:
        """Return the events since the last call, without waiting."""
        has_exited = self._process.poll() is not None  # checked before the last read, or events could be lost
        data = self.output.read()  # None: nothing to read; b"": end of file, which a child process can delay
        self.has_ended = has_exited or data == b""
        *lines, self._partial_line = (self._partial_line + (data or b"")).split(b"\n")
        return [self._handle(from_json(json.loads(line))) for line in lines if line]

    def _handle(self, event: Event) -> Event:
        match event:
            case WorkerReady():
                self.is_ready = True
            case EpochEnded():
                self.has_trained = True
            case RunTakenElsewhere(run):
                self._elsewhere.add(run)
            case RunsGivenAway(_, runs):
                self._elsewhere.update(runs)
            case JobEnded():
                self.job = None
        return event

    def terminate(self) -> None:
        """Close the worker's standard input and send SIGTERM to its process group."""
        with suppress(BrokenPipeError):  # a dead worker has left a job unread
            self._input.close()
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the process group."""
        self._signal(signal.SIGKILL)

    def wait(self, deadline: float) -> None:
        """Wait for the exit until `deadline` (time.monotonic), then kill the process group."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=max(0.0, deadline - time.monotonic()))
        self.kill()
        self._process.wait()
        with suppress(BrokenPipeError):
            self._input.close()
        self.output.close()

    def death_reason(self) -> str:
        """Return the signal or exit status of a dead worker and the last lines of its log."""
        with suppress(subprocess.TimeoutExpired):  # the worker may have closed its output and still run
            self._process.wait(timeout=1)
        self.kill()
        code = self._process.wait()
        how = f"signal {-code}" if code < 0 else f"exit status {code}"
        return f"the worker died ({how}); last lines of its log {self.log}: {tail(self.log)}"

    def remove_unused_log(self) -> None:
        """Remove the log of a worker that has had no job and printed nothing."""
        if not self._had_job and size(self.log) == 0:
            self.log.unlink(missing_ok=True)

    def copy_log(self) -> None:
        """Copy the output of the unfinished job into the logs of its runs.

        Raises:
            StorageError: a log is not writable.
        """
        if self.job is not None and self.job.kind == "train":
            log_output(self._store, self.runs, self.log, self._log_start)

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):  # the group has ended
            os.killpg(self._process.pid, number)


def _create_log(folder: Path) -> Path:
    """Create a log with a new name: after a reboot, a process id can occur again."""
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
    return {**os.environ, **slot.environment, **worker_environment(slot.threads), "PYTHONUNBUFFERED": "1"}
