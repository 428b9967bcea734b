"""A job on a machine that does not see the results folder: files come in by content, and go out by content.

Needs no torch until a job is done.
"""

import platform
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, final

import kdbench
from kdbench.errors import KdbenchError
from kdbench.events import CheckpointSaved, Event, InferenceTimed, RemoteEvent, RunDone, RunFailed, WorkerReady
from kdbench.results.checkpoints import NAMES as CHECKPOINTS

Files = Mapping[str, bytes]  # path below the results folder -> content
Send = Callable[[RemoteEvent], None]

OF_A_RUN = ("spec.json", "history.parquet", "weights.safetensors", "log.txt", "result.json")


def work(version: str, job: Mapping[str, Any], inputs: Iterable[Files], device: str, threads: int, send: Send) -> None:
    """Do a job of `kdbench.worker.job_runner` in a results folder of its own, which is gone afterwards.

    `inputs` are the files that the runs of the job need: finished runs and checkpoints. `send` gets each event of the
    worker, with the files that belong to it.

    Raises:
        KdbenchError: another version of kdbench asks for it.
    """
    if version != kdbench.__version__:
        raise KdbenchError(
            f"kdbench {version} asks for a job, but {platform.node()} has kdbench {kdbench.__version__}; install the "
            "same version on every machine"
        )
    from kdbench.worker.job_runner import JobRunner

    with TemporaryDirectory(prefix="kdbench-") as folder:
        root = Path(folder)
        for files in inputs:
            _unpack(files, root)
        outbox = _Outbox(root, send)
        outbox.emit(WorkerReady())
        JobRunner(folder, device, threads, None, outbox.emit).run_job(job)


@final
class _Outbox:
    """Sends events with the files that belong to them."""

    def __init__(self, root: Path, send: Send) -> None:
        self._root = root
        self._send = send

    def emit(self, event: Event) -> None:
        self._send(RemoteEvent(event, self._files(event)))

    def _files(self, event: Event) -> dict[str, bytes]:
        files: dict[str, bytes] = {}
        match event:
            case RunDone(run) | RunFailed(run):
                files = _packed(self._root, f"runs/{run}", OF_A_RUN)
            case CheckpointSaved(runs):
                for run in runs:
                    files |= _packed(self._root, f"runs/{run}", CHECKPOINTS[:1])
            case InferenceTimed():
                names = [path.name for path in (self._root / "timings").glob("*.json")]
                files = _packed(self._root, "timings", names)
        return files


def _packed(root: Path, folder: str, names: Iterable[str]) -> dict[str, bytes]:
    found = {f"{folder}/{name}": root / folder / name for name in names}
    return {name: path.read_bytes() for name, path in found.items() if path.exists()}


def _unpack(files: Files, root: Path) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
