"""Run a job on a machine without the results folder: its input and output files are passed as bytes.

Imports torch only once a job runs.
"""

import platform
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, final

import kdbench
from kdbench.errors import KdbenchError
from kdbench.events import (
    CheckpointSaved,
    Event,
    InferenceTimed,
    JobFailed,
    RemoteEvent,
    RunDone,
    RunFailed,
    RunsGivenAway,
    WorkerReady,
)
from kdbench.results.checkpoints import NAMES as CHECKPOINTS
from kdbench.results.integrity import FILES
from kdbench.results.storage_errors import storage_errors

Files = Mapping[str, bytes]  # path below the results folder -> content
Send = Callable[[RemoteEvent], None]

GIVEN_FILES = (CHECKPOINTS[0], "log.txt")
RUN_FILES = ("spec.json", *FILES, "log.txt", "result.json")


def run_remote_job(
    version: str,
    job: Mapping[str, Any],
    inputs: Iterable[Files],
    device: str,
    threads: int,
    send: Send,
    requested: Callable[[], Collection[str]] = tuple,
) -> None:
    """Run a job in a temporary results folder.

    Args:
        version: the version of kdbench that submits the job.
        job: the job, as `JobRunner.run_job` takes it.
        inputs: the files that the runs of the job need: finished runs and checkpoints.
        device: "cpu" or "cuda".
        threads: the number of torch's CPU threads.
        send: called with each event and the files that belong to it.
        requested: returns the runs that the job is to give away; called once an epoch.

    Raises:
        KdbenchError: this machine has another version of kdbench.
        StorageError: the temporary folder cannot be written to.
    """
    if version != kdbench.__version__:
        raise KdbenchError(
            f"the job was submitted by kdbench {version}, but {platform.node()} has kdbench {kdbench.__version__}; "
            "install the same version on every machine"
        )
    from kdbench.worker.job_runner import JobRunner

    with storage_errors(), TemporaryDirectory(prefix="kdbench-") as folder:
        root = Path(folder)
        for files in inputs:
            _write_files(files, root)
        outbox = _Outbox(root, send)
        outbox.emit(WorkerReady())
        JobRunner(folder, device, threads, None, outbox.emit, lambda number: requested()).run_job(job)


@final
class _Outbox:
    """Sends each event with the files that belong to it."""

    def __init__(self, root: Path, send: Send) -> None:
        self._root = root
        self._send = send

    def emit(self, event: Event) -> None:
        if isinstance(event, JobFailed):
            event = replace(event, error=f"on {platform.node()}: {event.error}")
        self._send(RemoteEvent(event, self._files(event)))

    def _files(self, event: Event) -> Files:
        match event:
            case RunDone(run) | RunFailed(run):
                return _read_files(self._root, [f"runs/{run}/{name}" for name in RUN_FILES])
            case CheckpointSaved(runs):
                return _read_files(self._root, [f"runs/{run}/{CHECKPOINTS[0]}" for run in runs])
            case RunsGivenAway(_, runs):
                return _read_files(self._root, [f"runs/{run}/{name}" for run in runs for name in GIVEN_FILES])
            case InferenceTimed():
                return _read_files(self._root, [f"timings/{file.name}" for file in self._root.glob("timings/*.json")])
        return {}


def _read_files(root: Path, names: Iterable[str]) -> Files:
    return {name: (root / name).read_bytes() for name in names if (root / name).exists()}


def _write_files(files: Files, root: Path) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
