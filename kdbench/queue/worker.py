"""A worker process as its coordinator sees it."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, final

from kdbench.matrix import RunSpec
from kdbench.queue.devices import Slot
from kdbench.results import Store


@final
class Worker:
    """One process on one slot; it ends when its standard input does."""

    def __init__(self, slot: Slot, place: int, store: Store, number: int) -> None:
        self.place = place
        self.runs: tuple[str, ...] = ()
        self.idle = True  # what it is given before it has started waits for it
        self.log = store.root / "workers" / f"{os.getpid()}-{number}.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._partial = b""
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                _command(slot, store.root),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=_environment(slot),
                start_new_session=True,
            )
        assert self._process.stdout is not None
        self.output = self._process.stdout
        os.set_blocking(self.output.fileno(), False)

    def train(self, specs: Sequence[RunSpec]) -> None:
        """Give it a cohort."""
        self.runs = tuple(spec.id for spec in specs)
        self._send({"train": [spec.to_json() for spec in specs]})

    def time(self, spec: RunSpec) -> None:
        """Let it time a deployed network."""
        self._send({"time": spec.to_json()})

    def events(self) -> list[Mapping[str, Any]] | None:
        """What it has told since the last call; None when it has died."""
        data = self.output.read()
        if data == b"":
            return None
        *lines, self._partial = (self._partial + (data or b"")).split(b"\n")
        events = [json.loads(line) for line in lines if line]
        for event in events:
            if event["event"] == "idle":
                self.idle, self.runs = True, ()
        return events

    def close(self) -> None:
        """End it now; what it had finished is written."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # a job that a dead worker never read
            self._process.stdin.close()
        self._process.terminate()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self.output.close()

    def death(self) -> str:
        """How it died, and the last lines of its log."""
        code = self._process.wait()
        how = f"signal {-code}" if code < 0 else f"exit status {code}"
        return f"the worker died ({how}); its log {self.log} ends: {_tail(self.log)}"

    def _send(self, job: Mapping[str, Any]) -> None:
        self.idle = False
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(job).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return  # its death is seen when its events are read


def _command(slot: Slot, results: Path) -> list[str]:
    arguments = ["--results", str(results), "--device", slot.device, "--threads", str(slot.threads)]
    return [sys.executable, "-P", "-m", "kdbench.run", *arguments]


def _environment(slot: Slot) -> dict[str, str]:
    """This process's environment and import path: what the plan could import, the worker can, and nothing else."""
    threads = str(slot.threads)
    fixed = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
    path = os.pathsep.join(folder or str(Path.cwd()) for folder in sys.path)
    return {**os.environ, **slot.environment, **fixed, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


def _tail(log: Path, lines: int = 5) -> str:
    text = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return " | ".join(text[-lines:]) or "(empty)"
