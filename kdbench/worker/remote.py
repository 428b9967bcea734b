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
from kdbench.results.checkpoints import NAMES as CHECKPOINTS

Files = Mapping[str, bytes]  # path below the results folder -> content
Tell = Callable[[Mapping[str, Any]], None]

OF_A_RUN = ("spec.json", "history.parquet", "weights.safetensors", "log.txt", "result.json")


def work(version: str, job: Mapping[str, Any], inputs: Iterable[Files], device: str, threads: int, tell: Tell) -> None:
    """Do a job of `kdbench.worker.job_runner` in a results folder of its own, which is gone afterwards.

    `inputs` are what the job's runs need: finished runs, checkpoints. `tell` hears of the worker's events; where a run
    has ended or been saved, and where a network has been timed, with "files" that belong into the results folder.

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
        outbox = _Outbox(root, tell)
        tell({"event": "ready"})
        JobRunner(folder, device, threads, None, outbox.report).run_job(job)
        outbox.send_timings()


@final
class _Outbox:
    """Adds to events what they have left in the folder."""

    def __init__(self, root: Path, tell: Tell) -> None:
        self._root = root
        self._tell = tell

    def report(self, event: Mapping[str, Any]) -> None:
        match event["event"]:
            case "done" | "failed":
                files = _packed(self._root, f"runs/{event['run']}", OF_A_RUN)
            case "saved":
                files = {}
                for run in event["runs"]:
                    files |= _packed(self._root, f"runs/{run}", CHECKPOINTS[:1])
            case _:
                files = {}
        self._tell({**event, "files": files} if files else event)

    def send_timings(self) -> None:
        names = [path.name for path in (self._root / "timings").glob("*.json")]
        if files := _packed(self._root, "timings", names):
            self._tell({"event": "timed", "files": files})


def _packed(root: Path, folder: str, names: Iterable[str]) -> dict[str, bytes]:
    found = {f"{folder}/{name}": root / folder / name for name in names}
    return {name: path.read_bytes() for name, path in found.items() if path.exists()}


def _unpack(files: Files, root: Path) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
