"""Runs jobs as tasks of a Ray cluster: other machines train, this process alone writes the results folder.

No disk is shared. A job's inputs (finished runs that it needs, checkpoints) go out as objects of the cluster, and its
outputs come back as the content of files. Ray retries nothing: the scheduler counts attempts.
"""

import importlib
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal, final

from filelock import FileLock

import kdbench
from kdbench.errors import KdbenchError, ResultsError, StorageError
from kdbench.events import (
    Event,
    JobEnded,
    JobFailed,
    RemoteEvent,
    RunDone,
    RunFailed,
    RunsGivenAway,
    RunTakenElsewhere,
    WarningIssued,
    WorkerDied,
)
from kdbench.matrix import RunSpec
from kdbench.queue.executors.base import Job, worker_environment
from kdbench.queue.executors.ray_task import Mailbox, RunJob, run_task
from kdbench.results import Store, checkpoints
from kdbench.results.files import writable, write_bytes
from kdbench.results.integrity import FILES
from kdbench.results.storage_errors import as_storage_error, repeat_read
from kdbench.results.timings import TimingEnvironment

NEEDED_FILES = ("spec.json", "result.json", "weights.safetensors")  # of a finished run that others need
POLL_SECONDS = 0.2


@final
@dataclass(eq=False)
class _Task:
    job: Job
    reference: Any  # of Ray's task; None if no run of the job was left to train
    locks: dict[str, FileLock] = field(default_factory=dict)


@final
class RayExecutor:
    """Runs each job on one GPU of a Ray cluster, or on as many CPUs as a worker has threads.

    `run_job` is `kdbench.worker.remote.run_remote_job`. Without an address, a cluster of this machine alone is started.

    Raises:
        KdbenchError: ray is not installed, the cluster is unreachable, or it has no GPU and `devices` is "cuda".
    """

    def __init__(
        self, store: Store, address: str | None, devices: Literal["auto", "cpu", "cuda"], threads: int, run_job: RunJob
    ) -> None:
        self._ray, self._is_own_connection = _connect(address)
        self._store = store
        self._threads = threads
        self._run_job = run_job
        try:
            self._device = self._choose_device(devices)
        except KdbenchError:
            self._disconnect()
            raise
        self._mailbox: Any = self._create_mailbox()
        self._tasks: dict[int, _Task] = {}
        self._local_events: list[Event] = []  # those that need no answer from the cluster
        self._needs: dict[str, Any] = {}  # finished run -> reference to its files in the cluster

    def environments(self) -> Sequence[TimingEnvironment]:
        """Return no environment: the cluster may have machines of several kinds."""
        return ()

    def start(self) -> None:
        """Do nothing: Ray starts a process for each job."""

    def slot_count(self) -> int:
        """Return the number of jobs that the cluster can run; without resources it accepts one, which then waits."""
        resources = self._ray.cluster_resources()
        slots = resources.get("GPU", 0) if self._device == "cuda" else resources.get("CPU", 0) // self._threads
        return max(1, int(slots))

    def free_slots(self) -> int:
        """Return the number of jobs that can start now."""
        return max(0, self.slot_count() - len(self._tasks))

    def submit(self, job: Job) -> None:
        """Start a job with those of its runs that no other process trains."""
        task = self._tasks[job.id] = _Task(job, None)
        is_training = job.kind == "train"
        specs = [spec for spec in job.specs if self._claim(spec, task)] if is_training else job.specs
        if not specs or (is_training and not self._are_needs_intact(specs)):
            return
        claimed = Job(job.id, tuple(specs), job.kind, job.options).to_json()
        inputs = [*self._put_needs(specs), self._put_checkpoints(specs)] if is_training else []
        arguments = (kdbench.__version__, claimed, self._device, self._threads)
        remote = self._ray.remote(run_task).options(**self._options())
        task.reference = remote.remote(self._mailbox, job.id, self._run_job, arguments, *inputs)

    def poll(self, timeout: float) -> list[Event]:
        """Return the events since the last call; the files of an event are on disk before it is returned."""
        deadline = time.monotonic() + timeout
        while True:
            ended = self._ended_tasks()
            events, self._local_events = self._local_events, []
            for number, message in self._ray.get(self._mailbox.take.remote()):
                if number in self._tasks:
                    events.append(self._receive(self._tasks[number], message))
            events += [self._end(task) for task in ended]
            if events or time.monotonic() >= deadline:
                return events
            time.sleep(POLL_SECONDS)

    def give_away(self, job: int, runs: Sequence[str]) -> None:
        """Request that the task of a job gives some of its runs away; the task looks once an epoch."""
        if job in self._tasks:
            self._mailbox.request.remote(job, list(runs))

    def cancel(self, job: int) -> None:
        """Kill the process of a job."""
        if job in self._tasks and self._tasks[job].reference is not None:
            self._ray.cancel(self._tasks[job].reference, force=True)

    def close(self, kill: bool = False) -> None:
        """Kill all tasks; a second call does nothing. Events that have not been polled are lost."""
        if self._mailbox is None:
            return  # any call to Ray would connect again
        for number, task in self._tasks.items():
            self.cancel(number)
            _release_locks(task)
        self._tasks.clear()
        with suppress(self._ray.exceptions.RayError):
            self._ray.kill(self._mailbox)
        self._mailbox = None
        self._disconnect()

    def _disconnect(self) -> None:
        if self._is_own_connection:
            self._ray.shutdown()

    def _choose_device(self, devices: str) -> str:
        gpus = self._ray.cluster_resources().get("GPU", 0)
        if devices == "cuda" and not gpus:
            raise KdbenchError('run.devices is "cuda", but the Ray cluster has no GPU; use "auto" or "cpu"')
        return "cuda" if gpus and devices != "cpu" else "cpu"

    def _options(self) -> dict[str, Any]:
        return {
            "num_cpus": self._threads,
            "num_gpus": 1 if self._device == "cuda" else 0,
            "max_retries": 0,
            "runtime_env": {"env_vars": worker_environment(self._threads)},
        }

    def _create_mailbox(self) -> Any:
        """Create the mailbox on this node, so that it survives the death of any other."""
        node = self._ray.get_runtime_context().get_node_id()
        strategies = importlib.import_module("ray.util.scheduling_strategies")
        strategy = strategies.NodeAffinitySchedulingStrategy(node, soft=False)
        return self._ray.remote(Mailbox).options(num_cpus=0, scheduling_strategy=strategy).remote()

    def _claim(self, spec: RunSpec, task: _Task) -> bool:
        """Take the lock of a run, for the machine that will train it; return whether the run is to be trained."""
        lock = self._store.claim(spec.id)
        if lock is None:
            self._local_events.append(RunTakenElsewhere(spec.id))
            return False
        if self._store.is_finished(spec.id):
            lock.release()
            self._local_events.append(RunDone(spec.id))
            return False
        task.locks[spec.id] = lock
        self._store.write_spec(spec)
        return True

    def _are_needs_intact(self, specs: Iterable[RunSpec]) -> bool:
        """Return whether the files of all runs that `specs` need are intact; quarantine those that are not."""
        unchecked = {need.id for spec in specs for _, need in spec.needs} - self._needs.keys()
        for run, reason in self._store.quarantine_corrupted(unchecked, deep=True):
            self._local_events.append(WarningIssued(reason, run))
        return all(self._store.state(run) == "done" for run in unchecked)

    def _put_needs(self, specs: Iterable[RunSpec]) -> Iterator[Any]:
        for run in {need.id for spec in specs for _, need in spec.needs}:
            if run not in self._needs:
                self._needs[run] = self._ray.put(self._read_files(run, NEEDED_FILES))
            yield self._needs[run]

    def _put_checkpoints(self, specs: Iterable[RunSpec]) -> Any:
        files: dict[str, bytes] = {}
        for spec in specs:
            files |= self._read_files(spec.id, ("attempt.json", *checkpoints.NAMES))
            self._store.begin_attempt(spec.id)  # after reading: the task counts the attempt in its copy
        return self._ray.put(files)

    def _read_files(self, run: str, names: Iterable[str]) -> dict[str, bytes]:
        paths = {f"runs/{run}/{name}": self._store.folder(run) / name for name in names}
        found = {name: _read_if_there(path) for name, path in paths.items()}
        return {name: content for name, content in found.items() if content is not None}

    def _ended_tasks(self) -> list[_Task]:
        """Return the tasks that have ended; all of their events are in the mailbox."""
        references = [task.reference for task in self._tasks.values() if task.reference is not None]
        ready, _ = self._ray.wait(references, num_returns=len(references), timeout=0) if references else ((), ())
        return [task for task in self._tasks.values() if task.reference is None or task.reference in ready]

    def _receive(self, task: _Task, message: RemoteEvent) -> Event:
        for name, content in sorted(message.files.items(), key=_is_result):
            self._write(task, PurePosixPath(name), content)
        match message.event:
            case RunDone(run) | RunFailed(run) if run in task.locks:
                task.locks.pop(run).release()
            case RunsGivenAway(_, runs):
                for run in runs:
                    self._store.give_away(run)
                    task.locks.pop(run).release()
        return message.event

    def _write(self, task: _Task, path: PurePosixPath, content: bytes) -> None:
        """Write a file from another machine if it belongs to a run that the task still trains, or is a timing."""
        match path.parts:
            case ("timings", name) if name.endswith(".json"):
                write_bytes(self._store.timings / name, content)
            case ("runs", run, name) if run in task.locks:
                _write_run_file(self._store, run, name, content)
            case _:
                raise ResultsError(f"a Ray task sent '{path}', which is not a file of its runs; nothing was written")

    def _end(self, task: _Task) -> Event:
        del self._tasks[task.job.id]
        runs = list(task.locks)
        _release_locks(task)
        try:
            if task.reference is not None:
                self._ray.get(task.reference)
        except self._ray.exceptions.RayError as error:
            blameless = self._blameless(getattr(error, "cause", None) or error)
            return JobFailed(str(blameless)) if blameless is not None else _death(task.job, runs, error)
        return JobEnded(task.job.id)

    def _blameless(self, error: Exception) -> KdbenchError | None:
        """Return the error of a task that would fail every job, such as that of a full disk, or None."""
        if isinstance(error, KdbenchError):
            return error
        if isinstance(error, self._ray.exceptions.OutOfDiskError):
            return StorageError(f"{_one_line(error)}; free space there and rerun the command; finished runs are kept")
        return as_storage_error(error)


def _connect(address: str | None) -> tuple[Any, bool]:
    """Connect to Ray; return its module and whether this call made the connection."""
    try:
        ray = importlib.import_module("ray")
    except ImportError as error:
        raise KdbenchError(f"--executor ray needs Ray ({error}); pip install 'kdbench[ray]'") from None
    if ray.is_initialized():
        return ray, False
    try:
        ray.init(address=address, logging_level="ERROR", log_to_driver=False)
    except Exception as error:  # Ray raises many types if no cluster is reachable
        raise KdbenchError(
            f"cannot connect to the Ray cluster at {address or 'this machine'} ({_one_line(error)}); start one with "
            "`ray start --head` and pass its address with --address"
        ) from error
    return ray, True


def _write_run_file(store: Store, run: str, name: str, content: bytes) -> None:
    folder = store.folder(run)
    match name:
        case "log.txt":
            with writable(folder), (folder / name).open("ab") as log:
                log.write(content)
        case "checkpoint.pt":
            checkpoints.write_file(folder, content)
        case _ if name in ("spec.json", *FILES, "result.json"):
            write_bytes(folder / name, content)
            if name == "result.json":
                checkpoints.remove(folder)
        case _:
            raise ResultsError(f"a Ray task sent '{name}' of run {run}, which is not a run's file; nothing was written")


def _read_if_there(path: Path) -> bytes | None:
    with suppress(FileNotFoundError):
        return repeat_read(path, path.read_bytes)
    return None


def _is_result(file: tuple[str, bytes]) -> bool:
    """Return a sort key: the file that makes a run finished is written last."""
    return file[0].endswith("/result.json")


def _release_locks(task: _Task) -> None:
    for lock in task.locks.values():
        lock.release()
    task.locks.clear()


def _death(job: Job, runs: Iterable[str], error: Exception) -> WorkerDied:
    return WorkerDied(job.id, tuple(runs), f"the Ray task died: {_one_line(error)}")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:500]
