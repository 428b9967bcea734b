"""The results folder: the run folders and their locks are the complete state; everything else is derived from them."""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, final

from filelock import FileLock, Timeout

from kdbench.errors import ResultsError, did_you_mean, printable
from kdbench.matrix.spec import RunSpec
from kdbench.results import attempts, checkpoints, folder_metadata, integrity
from kdbench.results.files import corrupted, read_checked_json, writable, write_checked_json
from kdbench.results.index import MatrixIndex
from kdbench.results.locks import LOCK, is_locked
from kdbench.results.names import is_matrix_name, is_run_id
from kdbench.results.provenance import now
from kdbench.results.regular_files import append, exists
from kdbench.results.storage_errors import repeat_read

State = Literal["done", "failed", "running", "pending"]
MAX_INDEX_BYTES = 2**28


@final
class Store:
    """A results folder.

    Raises:
        ResultsError: the folder was written by another version of kdbench, or is missing and `create` is False.
        StorageError: it cannot be created.
    """

    def __init__(self, root: str | Path, create: bool = True) -> None:
        self.root = Path(root)
        self.runs = self.root / "runs"
        self.matrices = self.root / "matrices"
        self.timings = self.root / "timings"
        self.sessions = self.root / "sessions"
        self._check_format(create)

    @staticmethod
    def existing(root: Path) -> "Store | None":
        """Return the store of a results folder, or None if the folder is not one yet."""
        return Store(root) if exists(root / folder_metadata.NAME) else None

    def _check_format(self, create: bool) -> None:
        if exists(self.root / folder_metadata.NAME):
            folder_metadata.check_format(self.root, self._threads_of_runs)
        elif create:
            with writable(self.root):
                for folder in (self.runs, self.matrices, self.timings):
                    folder.mkdir(parents=True, exist_ok=True)
            folder_metadata.create(self.root)
        elif not self.root.is_dir():
            raise ResultsError(f"{self.root}: results folder not found; `kdbench run MATRIX` creates it")

    def check_writable(self) -> None:
        """Write and delete a file in the folder.

        Raises:
            StorageError: the folder cannot be written to.
        """
        probe = self.root / f".probe.{os.getpid()}"
        with writable(self.root):
            probe.write_bytes(b"")
            probe.unlink()

    @property
    def threads(self) -> int | None:
        """CPU threads per worker of all runs in the folder; None before the first run."""
        return folder_metadata.read_threads(self.root, self._threads_of_runs)

    def fix_threads(self, threads: int) -> int:
        """Record the CPU threads per worker of all runs, unless they are recorded already; return what is recorded."""
        return folder_metadata.fix_threads(self.root, threads, self._threads_of_runs)

    def _threads_of_runs(self) -> int | None:
        rows = (result.get("row", {}) for run in self.run_ids() if (result := self.result(run)) is not None)
        return next((row["threads"] for row in rows if isinstance(row.get("threads"), int)), None)

    def folder(self, run_id: str) -> Path:
        """Return the folder of a run."""
        return self.runs / run_id

    def lock(self, run_id: str) -> FileLock:
        """Return the lock of a run, which is locked while a process trains it; the kernel unlocks it if that dies.

        Raises:
            StorageError: the run's folder cannot be created.
        """
        folder = self.folder(run_id)
        with writable(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / LOCK, timeout=0)

    def claim(self, run_id: str) -> FileLock | None:
        """Lock a run and return the lock, or None if another process has locked it.

        Raises:
            StorageError: the run's folder cannot be written to.
        """
        lock = self.lock(run_id)
        with writable(self.folder(run_id)):
            try:
                lock.acquire()
            except Timeout:
                return None
        return lock

    @contextmanager
    def claimed(self, run_id: str) -> Iterator[bool]:
        """Lock a run for the length of a block; yield False if another process has locked it."""
        lock = self.claim(run_id)
        try:
            yield lock is not None
        finally:
            if lock is not None:
                lock.release()

    def state(self, run_id: str) -> State:
        """Return the state of a run, without locking it."""
        return self.state_by(self.result(run_id), run_id)

    def state_by(self, result: Mapping[str, Any] | None, run_id: str) -> State:
        """Return the state of a run whose `result` has been read already."""
        if result is not None:
            return "done" if result["status"] == "done" else "failed"
        return "running" if is_locked(self.folder(run_id) / LOCK) else "pending"

    def is_finished(self, run_id: str) -> bool:
        """Return whether a run is done or failed."""
        return self.result(run_id) is not None

    def result(self, run_id: str) -> dict[str, Any] | None:
        """Return the content of `result.json`, or None if the run is not finished or the file is corrupted.

        Raises:
            StorageError: the file cannot be read.
        """
        try:
            return integrity.read_result(self.folder(run_id), run_id)
        except (FileNotFoundError, ResultsError):
            return None

    def corruption(self, run_id: str, deep: bool = False) -> str | None:
        """Return why a run is corrupted, by the sizes of its files, with `deep` also by their checksums.

        Raises:
            StorageError: a file cannot be read.
        """
        return integrity.run_corruption(self.folder(run_id), run_id, deep)

    def quarantine(self, run_id: str, why: str) -> Path:
        """Move all files of a run except its lock to `quarantine/`; return their folder. The run is pending again.

        Raises:
            ResultsError: another process has locked the run.
            StorageError: the folder cannot be written to.
        """
        with self.claimed(run_id) as is_claimed:
            if not is_claimed:
                raise ResultsError(f"{run_id}: another process has locked this run; try again when it has ended")
            return self._quarantine(run_id, why)

    def quarantine_corrupted(self, run_ids: Iterable[str], deep: bool = False) -> Iterator[tuple[str, str]]:
        """Quarantine the corrupted ones of these runs; yield each with the reason and its folder.

        Runs that another process has locked are skipped.

        Raises:
            StorageError: a file cannot be read, which is no reason to quarantine a run, or the folder cannot be
                written to.
        """
        for run in run_ids:
            if self.corruption(run, deep) is None:
                continue
            with self.claimed(run) as is_claimed:
                why = self.corruption(run, deep) if is_claimed else None  # another process may have retrained it
                target = self._quarantine(run, why) if why else None
            if target is not None:
                yield run, f"corrupted: {why}; moved to {target}; the run is pending again"

    def _quarantine(self, run_id: str, why: str) -> Path:
        target = integrity.quarantine_folder(self.folder(run_id), self.root / "quarantine", why)
        self.log(run_id, f"moved the earlier files to {target}: {why}")
        return target

    def next_epoch(self, run_id: str) -> int:
        """Return the epochs that are trained according to the newest complete checkpoint; 0 without any."""
        return checkpoints.next_epoch(self.folder(run_id))

    def begin_attempt(self, run_id: str) -> int:
        """Record an attempt to train a run; return the number of attempts. The caller must have locked the run.

        An attempt that was given away continues, and counts once.
        """
        return attempts.begin(self.folder(run_id))

    def attempts(self, run_id: str) -> int:
        """Return the number of times that the training of a run was started."""
        return attempts.count(self.folder(run_id))

    def give_away(self, run_id: str) -> None:
        """Record that another worker continues the attempt of a run. The caller must have locked the run."""
        attempts.give_away(self.folder(run_id))

    def log(self, run_id: str, text: str) -> None:
        """Append text, with the time, to a run's log.

        Raises:
            StorageError: the log cannot be written to.
        """
        folder = self.folder(run_id)
        with writable(folder):
            folder.mkdir(parents=True, exist_ok=True)
            append(folder / "log.txt", f"{now()} {text.rstrip()}\n".encode(errors="replace"))

    def write_spec(self, spec: RunSpec) -> None:
        """Write `spec.json`, which describes a run completely."""
        write_checked_json(self.folder(spec.id) / "spec.json", spec.to_json())

    def spec(self, run_id: str) -> RunSpec:
        """Return the spec of a run.

        Raises:
            ResultsError: there is no such run, or its file is corrupted.
        """
        try:
            spec = integrity.read_spec(self.folder(run_id))
        except FileNotFoundError:
            raise ResultsError(f"{run_id}: no such run in {self.root}") from None
        if spec.id != run_id:
            raise corrupted(self.folder(run_id) / "spec.json", f"it belongs to the run {spec.id}")
        return spec

    def find_run(self, prefix: str) -> str:
        """Return the id of the one run whose id starts with `prefix`.

        Raises:
            ResultsError: no id starts with it, or several do.
        """
        ids = [run for run in self.run_ids() if run.startswith(prefix)]
        if len(ids) == 1:
            return ids[0]
        if ids:
            raise ResultsError(f"{prefix}: {len(ids)} runs start with this; give more digits")
        quarantined = sorted(path for path in self.root.glob("quarantine/*") if path.name.startswith(prefix))
        if quarantined:
            raise ResultsError(
                f"{prefix}: this run was corrupted and moved to {quarantined[-1]}; run its matrix to train it again"
            )
        raise ResultsError(f"{prefix}: no such run in {self.root}; {did_you_mean(prefix, self.run_ids()[:20])}")

    def run_ids(self) -> list[str]:
        """Return the ids of all runs that were ever started here, sorted; folders with other names are no runs."""
        try:
            names = repeat_read(self.runs, lambda: [path.name for path in self.runs.iterdir()])
        except OSError:  # there is no folder
            return []
        return sorted(name for name in names if is_run_id(name) and exists(self.runs / name / "spec.json"))

    def write_result(self, run_id: str, result: Mapping[str, Any]) -> None:
        """Write `result.json`, which makes a run finished, and remove its checkpoints."""
        row = {key: _as_line(value) for key, value in result.get("row", {}).items()}
        content = {"run_id": run_id, **result} | ({"row": row} if row else {})
        write_checked_json(self.folder(run_id) / "result.json", content)
        checkpoints.remove(self.folder(run_id))

    def clear_result(self, run_id: str) -> None:
        """Remove `result.json`, so that the run is pending again."""
        with writable(self.folder(run_id)):
            (self.folder(run_id) / "result.json").unlink(missing_ok=True)

    def write_index(self, index: MatrixIndex) -> None:
        """Write the cells and runs of a matrix."""
        write_checked_json(self.matrices / f"{index.name}.json", index.to_json())

    def index(self, name: str) -> MatrixIndex | None:
        """Return the cells and runs of a matrix; None if it was never run or its file is corrupted."""
        try:
            return self.read_index(name)
        except (FileNotFoundError, ResultsError):
            return None

    def read_index(self, name: str) -> MatrixIndex:
        """Return the cells and runs of a matrix.

        Raises:
            ResultsError: its file is corrupted.
            FileNotFoundError: the matrix was never run.
        """
        path = self.matrices / f"{name}.json"
        if not is_matrix_name(name):
            raise corrupted(path, "no matrix can have this name")
        try:
            index = MatrixIndex.from_json(read_checked_json(path, MAX_INDEX_BYTES))
        except ValueError as error:
            raise corrupted(path, error) from None
        if index.name != name:
            raise corrupted(path, f"it belongs to the matrix {index.name!r}")
        return index

    def is_complete(self, index: MatrixIndex) -> bool:
        """Return whether all runs of a matrix are finished and not corrupted."""
        return all(map(self.is_finished, index.run_ids)) and not any(map(self.corruption, index.run_ids))

    def architectures(self, run_ids: Iterable[str]) -> dict[str, str]:
        """Return one finished run per architecture of a deployed network, by the key of the architecture."""
        found: dict[str, str] = {}
        for run in run_ids:
            if key := (self.result(run) or {}).get("architecture"):
                found.setdefault(key, run)
        return found

    def indexes(self) -> Iterator[MatrixIndex]:
        """Yield the cells and runs of every matrix, sorted by name; corrupted files are skipped."""
        for path in sorted(self.matrices.glob("*.json")):
            index = self.index(path.stem)
            if index is not None:
                yield index


def _as_line(value: object) -> object:
    return printable(value, len(value) * 10) if isinstance(value, str) else value
