"""The results folder: run folders with their locks are the whole state; everything else is derived from them."""

import os
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, final

from filelock import FileLock, Timeout

from kdbench.errors import ResultsError, nearest
from kdbench.matrix.spec import RunSpec
from kdbench.results import checkpoints
from kdbench.results.files import damaged, read_json, writable, write_json
from kdbench.results.index import MatrixIndex
from kdbench.results.locks import held
from kdbench.results.provenance import now

FORMAT = 1

State = Literal["done", "failed", "running", "waiting"]


@final
class Store:
    """One results folder.

    Raises:
        ResultsError: the folder was written by a newer kdbench, or cannot be created.
    """

    def __init__(self, root: str | Path, create: bool = True) -> None:
        self.root = Path(root)
        self.runs = self.root / "runs"
        self.matrices = self.root / "matrices"
        self.timings = self.root / "timings"
        self._check_format(create)

    def _check_format(self, create: bool) -> None:
        about = self.root / "kdbench.json"
        if about.exists():
            found = read_json(about).get("format", 0)
            if not isinstance(found, int) or found > FORMAT:
                raise ResultsError(
                    f"{self.root}: written by a newer kdbench (format {found}, this one reads up to {FORMAT}); "
                    "upgrade kdbench or choose another results folder with --results"
                )
        elif create:
            with writable(self.root):
                for folder in (self.runs, self.matrices, self.timings):
                    folder.mkdir(parents=True, exist_ok=True)
            write_json(about, {"format": FORMAT})
        elif not self.root.is_dir():
            raise ResultsError(f"{self.root}: there is no such results folder; `kdbench run MATRIX` makes one")

    def check_writable(self) -> None:
        """Raise ResultsError unless a file can be written in the folder now."""
        probe = self.root / f".probe.{os.getpid()}"
        with writable(self.root):
            probe.write_bytes(b"")
            probe.unlink()

    def setting(self, key: str, value: int) -> int:
        """A value chosen once per results folder: what is recorded, else `value`, which is recorded now."""
        about = self.root / "kdbench.json"
        recorded = read_json(about)
        if key not in recorded:
            write_json(about, {**recorded, key: value})
            return value
        return int(recorded[key])

    def folder(self, run_id: str) -> Path:
        """Where a run lives."""
        return self.runs / run_id

    def lock(self, run_id: str) -> FileLock:
        """The lock of a run: held while somebody trains it, dropped by the kernel when that process dies."""
        folder = self.folder(run_id)
        with writable(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / "lock", timeout=0)

    def claim(self, run_id: str) -> FileLock | None:
        """The lock of a run, taken, or None where somebody else holds it."""
        lock = self.lock(run_id)
        with writable(self.folder(run_id)):
            try:
                lock.acquire()
            except Timeout:
                return None
        return lock

    def state(self, run_id: str) -> State:
        """What a run is doing, read without taking its lock."""
        result = self.result(run_id)
        if result is not None:
            return "done" if result["status"] == "done" else "failed"
        return "running" if held(self.folder(run_id) / "lock") else "waiting"

    def is_finished(self, run_id: str) -> bool:
        """Whether a run is done or has failed for good."""
        return self.result(run_id) is not None

    def result(self, run_id: str) -> dict[str, Any] | None:
        """What a finished run left, or None; a file that is not this run's counts as none."""
        try:
            result = read_json(self.folder(run_id) / "result.json")
        except (FileNotFoundError, ResultsError):
            return None
        return result if result.get("run_id") == run_id else None

    def next_epoch(self, run_id: str) -> int:
        """The epoch at which a run would go on, by its newest whole checkpoint; 0 without any."""
        return checkpoints.next_epoch(self.folder(run_id))

    def begin_attempt(self, run_id: str) -> int:
        """Count one more attempt at a run, and by whom; called by the worker that holds its lock."""
        count = self.attempts(run_id) + 1
        about = {"count": count, "host": platform.node(), "pid": os.getpid(), "started": now()}
        write_json(self.folder(run_id) / "attempt.json", about)
        return count

    def attempts(self, run_id: str) -> int:
        """How often somebody has begun to train a run."""
        try:
            count = read_json(self.folder(run_id) / "attempt.json").get("count", 0)
        except (FileNotFoundError, ResultsError):
            return 0
        return count if isinstance(count, int) else 0

    def log(self, run_id: str, text: str) -> None:
        """Add a line, with the time, to a run's log."""
        folder = self.folder(run_id)
        with writable(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / "log.txt").open("a", encoding="utf-8", errors="replace") as handle:
                handle.write(f"{now()} {text.rstrip()}\n")

    def write_spec(self, spec: RunSpec) -> None:
        """Record what a run is."""
        write_json(self.folder(spec.id) / "spec.json", spec.to_json())

    def spec(self, run_id: str) -> RunSpec:
        """The run of an id.

        Raises:
            ResultsError: there is no such run, or its file is damaged.
        """
        path = self.folder(run_id) / "spec.json"
        try:
            return RunSpec.from_json(read_json(path))
        except FileNotFoundError:
            raise ResultsError(f"{run_id}: no such run in {self.root}") from None
        except (LookupError, TypeError, ValueError) as error:
            raise damaged(path, f"{type(error).__name__}: {error}") from None

    def find(self, beginning: str) -> str:
        """The id of the one run that begins so.

        Raises:
            ResultsError: no run begins so, or several do.
        """
        ids = [run for run in self.run_ids() if run.startswith(beginning)]
        if len(ids) == 1:
            return ids[0]
        if ids:
            raise ResultsError(f"{beginning}: {len(ids)} runs begin so; give more digits")
        raise ResultsError(f"{beginning}: no such run in {self.root}; {nearest(beginning, self.run_ids()[:20])}")

    def run_ids(self) -> list[str]:
        """Every run that was ever started here."""
        if not self.runs.is_dir():
            return []
        return sorted(entry.name for entry in os.scandir(self.runs) if (Path(entry.path) / "spec.json").exists())

    def write_result(self, run_id: str, result: Mapping[str, Any]) -> None:
        """Record how a run ended; from then on it is finished, and needs no checkpoint."""
        write_json(self.folder(run_id) / "result.json", {"run_id": run_id, **result})
        checkpoints.remove(self.folder(run_id))

    def forget_result(self, run_id: str) -> None:
        """Make a finished run waiting again."""
        (self.folder(run_id) / "result.json").unlink(missing_ok=True)

    def write_index(self, index: MatrixIndex) -> None:
        """Record what a matrix asked for."""
        write_json(self.matrices / f"{index.name}.json", index.to_json())

    def index(self, name: str) -> MatrixIndex | None:
        """What a matrix asked for when it was last run."""
        try:
            return MatrixIndex.from_json(read_json(self.matrices / f"{name}.json"))
        except (FileNotFoundError, ResultsError, TypeError, KeyError):
            return None

    def is_complete(self, index: MatrixIndex) -> bool:
        """Whether every run of a matrix has ended and every network that it deploys has been timed."""
        results = [self.result(run) for run in index.run_ids]
        keys = {result["architecture"] for result in results if result and "architecture" in result}
        return all(results) and all(self.timing(key) for key in keys)

    def indexes(self) -> Iterator[MatrixIndex]:
        """What every matrix of this folder asked for, by name."""
        for path in sorted(self.matrices.glob("*.json")):
            index = self.index(path.stem)
            if index is not None:
                yield index

    def timing(self, key: str) -> dict[str, Any] | None:
        """The measured inference time of a deployed network, or None."""
        try:
            return read_json(self.timings / f"{key}.json")
        except (FileNotFoundError, ResultsError):
            return None

    def timing_lock(self) -> FileLock:
        """Held while inference is timed: two measurements at a time would slow each other down."""
        return FileLock(self.timings / "lock")

    def write_timing(self, key: str, timing: Mapping[str, Any]) -> None:
        """Record the inference time of a deployed network."""
        write_json(self.timings / f"{key}.json", dict(timing))
