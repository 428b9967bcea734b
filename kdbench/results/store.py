"""The results folder: run folders with their locks are the whole state; everything else is derived from them."""

import os
import platform
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, final

from filelock import FileLock, Timeout

from kdbench.errors import ResultsError, did_you_mean
from kdbench.matrix.spec import RunSpec
from kdbench.results import checkpoints, folder_metadata, integrity
from kdbench.results.files import corrupted, read_json, writable, write_json
from kdbench.results.index import MatrixIndex
from kdbench.results.locks import held
from kdbench.results.provenance import now
from kdbench.results.quarantine import quarantine_folder

State = Literal["done", "failed", "running", "pending"]


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
        if (self.root / folder_metadata.NAME).exists():
            folder_metadata.check(self.root, self._of_a_run)
        elif create:
            with writable(self.root):
                for folder in (self.runs, self.matrices, self.timings):
                    folder.mkdir(parents=True, exist_ok=True)
            folder_metadata.write(self.root)
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
        return folder_metadata.choose(self.root, key, value, self._of_a_run)

    def recorded(self, key: str) -> int | None:
        """A value that was chosen for all runs, or None before there is any."""
        return folder_metadata.recorded(self.root, key, self._of_a_run)

    def _of_a_run(self, key: str) -> int | None:
        """What the first run that is done was made with."""
        rows = (result.get("row", {}) for run in self.run_ids() if (result := self.result(run)) is not None)
        return next((row[key] for row in rows if isinstance(row.get(key), int)), None)

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

    @contextmanager
    def claimed(self, run_id: str) -> Iterator[bool]:
        """Hold the lock of a run, if nobody else does; gives whether it is held."""
        lock = self.claim(run_id)
        try:
            yield lock is not None
        finally:
            if lock is not None:
                lock.release()

    def state(self, run_id: str) -> State:
        """What a run is doing, read without taking its lock."""
        return self.state_by(self.result(run_id), run_id)

    def state_by(self, result: Mapping[str, Any] | None, run_id: str) -> State:
        """The same, where the run's result has been read already."""
        if result is not None:
            return "done" if result["status"] == "done" else "failed"
        return "running" if held(self.folder(run_id) / "lock") else "pending"

    def is_finished(self, run_id: str) -> bool:
        """Whether a run is done or has failed for good."""
        return self.result(run_id) is not None

    def result(self, run_id: str) -> dict[str, Any] | None:
        """What a finished run left, or None; a file that is not this run's counts as none."""
        try:
            result = read_json(self.folder(run_id) / "result.json")
        except (FileNotFoundError, ResultsError):
            return None
        return None if integrity.malformed(result, run_id) else result

    def corruption(self, run_id: str, deep: bool = False) -> str | None:
        """Why a finished run cannot be trusted, by its files' sizes; `deep`: also by their content. None: it can."""
        return integrity.corruption(self.folder(run_id), run_id, deep)

    def quarantine(self, run_id: str, why: str) -> Path:
        """Move everything of a run but its lock to `quarantine/`, so that it waits again; gives the place.

        Raises:
            ResultsError: another process holds the run, or the folder cannot be written to.
        """
        with self.claimed(run_id) as mine:
            if not mine:
                raise ResultsError(f"{run_id}: another process holds this run; try again when it has ended")
            return self._put_aside(run_id, why)

    def quarantine_corrupted(self, run_ids: Iterable[str], deep: bool = False) -> Iterator[tuple[str, str]]:
        """Quarantine those runs that are corrupted and that nobody holds; gives each with what was wrong, and its place.

        Raises:
            ResultsError: the folder cannot be written to.
        """
        for run in run_ids:
            if self.corruption(run, deep) is None:
                continue
            with self.claimed(run) as mine:
                why = (
                    self.corruption(run, deep) if mine else None
                )  # again: somebody else may have repeated it meanwhile
                aside = self._put_aside(run, why) if why else None
            if aside is not None:
                yield run, f"corrupted: {why}; moved to {aside}, and the run waits again"

    def _put_aside(self, run_id: str, why: str) -> Path:
        aside = quarantine_folder(self.folder(run_id), self.root / "quarantine", why)
        self.log(run_id, f"what was here is in {aside}: {why}")
        return aside

    def next_epoch(self, run_id: str) -> int:
        """The epoch at which a run would go on, by its newest whole checkpoint; 0 without any."""
        return checkpoints.next_epoch(self.folder(run_id))

    def begin_attempt(self, run_id: str) -> int:
        """Count one more attempt at a run, and by whom; called by the worker that holds its lock."""
        count = self.attempts(run_id) + 1
        attempt = {"count": count, "host": platform.node(), "pid": os.getpid(), "started": now()}
        write_json(self.folder(run_id) / "attempt.json", attempt)
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
            ResultsError: there is no such run, or its file is corrupted.
        """
        path = self.folder(run_id) / "spec.json"
        try:
            return RunSpec.from_json(read_json(path))
        except FileNotFoundError:
            raise ResultsError(f"{run_id}: no such run in {self.root}") from None
        except (LookupError, TypeError, ValueError) as error:
            raise corrupted(path, f"{type(error).__name__}: {error}") from None

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
        put_away = sorted(path for path in self.root.glob("quarantine/*") if path.name.startswith(beginning))
        if put_away:
            raise ResultsError(
                f"{beginning}: was corrupted and lies in {put_away[-1]}; run its matrix to train it again"
            )
        raise ResultsError(f"{beginning}: no such run in {self.root}; {did_you_mean(beginning, self.run_ids()[:20])}")

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
        """What a matrix asked for when it was last run; None also where its file is corrupted."""
        try:
            return self.read_index(name)
        except (FileNotFoundError, ResultsError):
            return None

    def read_index(self, name: str) -> MatrixIndex:
        """The same.

        Raises:
            ResultsError: its file is corrupted.
            FileNotFoundError: there is none.
        """
        path = self.matrices / f"{name}.json"
        try:
            index = MatrixIndex.from_json(read_json(path))
        except (TypeError, LookupError, ValueError) as error:
            raise corrupted(path, f"{type(error).__name__}: {error}") from None
        if index.name != name:
            raise corrupted(path, f"it is of the matrix {index.name!r}")
        return index

    def is_complete(self, index: MatrixIndex) -> bool:
        """Whether every run of a matrix has ended, is not corrupted, and every network that it deploys has been timed."""
        results = [self.result(run) for run in index.run_ids]
        keys = {result["architecture"] for result in results if result and "architecture" in result}
        whole = all(results) and not any(map(self.corruption, index.run_ids))
        return whole and all(self.timing(key) for key in keys)

    def indexes(self) -> Iterator[MatrixIndex]:
        """What every matrix of this folder asked for, by name."""
        for path in sorted(self.matrices.glob("*.json")):
            index = self.index(path.stem)
            if index is not None:
                yield index

    def timing(self, key: str) -> dict[str, Any] | None:
        """The measured inference time of a deployed network, or None."""
        try:
            timing = read_json(self.timings / f"{key}.json")
        except (FileNotFoundError, ResultsError):
            return None
        return timing if all(isinstance(value, int | float) for value in timing.values()) else None

    def timing_lock(self) -> FileLock:
        """Held while inference is timed: two measurements at a time would slow each other down."""
        return FileLock(self.timings / "lock")

    def write_timing(self, key: str, timing: Mapping[str, Any]) -> None:
        """Record the inference time of a deployed network."""
        write_json(self.timings / f"{key}.json", dict(timing))
