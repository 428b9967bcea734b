"""Jobs as tasks of a Ray cluster: other machines train, this one alone writes.

Finished runs that a job needs, and checkpoints, go out as objects of the cluster; what a run leaves comes back as
content. No disk is shared. Ray itself repeats nothing: the scheduler counts attempts.
"""

import importlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal, final

from filelock import FileLock

import kdbench
from kdbench.errors import KdbenchError, ResultsError
from kdbench.events import (
    Event,
    JobEnded,
    JobFailed,
    RemoteEvent,
    RunDone,
    RunFailed,
    RunTakenElsewhere,
    WarningIssued,
    WorkerDied,
)
from kdbench.matrix import RunSpec
from kdbench.queue.executors.base import Job, worker_environment
from kdbench.results import Store, checkpoints
from kdbench.results.files import writable, write_bytes

Work = Callable[..., None]  # kdbench.worker.remote.work

NEEDED = ("spec.json", "result.json", "weights.safetensors")  # of a run that others need
PAUSE = 0.2  # seconds between two looks at the mailbox


@final
@dataclass(eq=False)
class _Task:
    job: Job
    answer: Any  # the object reference of Ray's task; None where there was nothing left to do
    locks: dict[str, FileLock] = field(default_factory=dict)


@final
class RayExecutor:
    """Jobs in a cluster, each on as many processors as a worker has threads, or on one GPU.

    `work` is `kdbench.worker.remote.work`. Without an address a cluster of this machine alone is started.

    Raises:
        KdbenchError: Ray is not installed, the cluster does not answer, or it lacks the GPUs asked for.
    """

    def __init__(
        self, store: Store, address: str | None, devices: Literal["auto", "cpu", "cuda"], threads: int, work: Work
    ) -> None:
        self._ray, self._is_ours = _connected(address)
        self._store = store
        self._threads = threads
        self._work = work
        try:
            self._device = self._chosen(devices)
        except KdbenchError:
            self._leave()
            raise
        self._mailbox = self._opened_mailbox()
        self._tasks: dict[int, _Task] = {}
        self._told: list[Event] = []  # what is known without asking the cluster
        self._shipped: dict[str, Any] = {}  # finished runs that were put into the cluster, by id

    def capacity(self) -> int:
        """How many jobs can begin now; a cluster that has lost all its room lets one wait for more."""
        has = self._ray.cluster_resources()
        places = has.get("GPU", 0) if self._device == "cuda" else has.get("CPU", 0) // self._threads
        return max(0, max(1, int(places)) - len(self._tasks))

    def submit(self, job: Job) -> None:
        """Begin a job with those of its runs that nobody else trains."""
        task = self._tasks[job.id] = _Task(job, None)
        mine = job.specs if job.kind == "time" else [spec for spec in job.specs if self._claim(spec, task)]
        if not mine or (job.kind == "train" and not self._are_whole(mine)):
            return
        message = Job(job.id, tuple(mine), job.kind, job.options).message()
        inputs = [*self._needed_by(mine), *([] if job.kind == "time" else [self._begun(mine)])]
        about = (kdbench.__version__, message, self._device, self._threads)
        remote = self._ray.remote(_do).options(**self._options())
        task.answer = remote.remote(self._mailbox, job.id, self._work, about, *inputs)

    def poll(self, timeout: float) -> list[Event]:
        """What the tasks have told; what they have left is written before it is told."""
        deadline = time.monotonic() + timeout
        while True:
            over = self._over()
            told, self._told = self._told, []
            for number, message in self._ray.get(self._mailbox.take.remote()):
                if number in self._tasks:
                    told.append(self._receive(self._tasks[number], message))
            told += [self._ended(task) for task in over]
            if told or time.monotonic() >= deadline:
                return told
            time.sleep(PAUSE)

    def cancel(self, job: int) -> None:
        """Kill the process of a job."""
        if job in self._tasks and self._tasks[job].answer is not None:
            self._ray.cancel(self._tasks[job].answer, force=True)

    def close(self, now: bool = False) -> None:
        """End all tasks; what they had not told is lost, what they had is written."""
        for number, task in self._tasks.items():
            self.cancel(number)
            _release(task)
        self._tasks.clear()
        with suppress(self._ray.exceptions.RayError):
            self._ray.kill(self._mailbox)
        self._leave()

    def _leave(self) -> None:
        if self._is_ours:
            self._ray.shutdown()

    def _chosen(self, devices: str) -> str:
        gpus = self._ray.cluster_resources().get("GPU", 0)
        if devices == "cuda" and not gpus:
            raise KdbenchError('run.devices is "cuda", but no GPU is in the Ray cluster; use "auto" or "cpu"')
        return "cuda" if gpus and devices != "cpu" else "cpu"

    def _options(self) -> dict[str, Any]:
        return {
            "num_cpus": self._threads,
            "num_gpus": 1 if self._device == "cuda" else 0,
            "max_retries": 0,
            "runtime_env": {"env_vars": worker_environment(self._threads)},
        }

    def _opened_mailbox(self) -> Any:
        """An actor beside this process, so that no other machine can take it along."""
        here = self._ray.get_runtime_context().get_node_id()
        strategies = importlib.import_module("ray.util.scheduling_strategies")
        strategy = strategies.NodeAffinitySchedulingStrategy(here, soft=False)
        return self._ray.remote(_Mailbox).options(num_cpus=0, scheduling_strategy=strategy).remote()

    def _claim(self, spec: RunSpec, task: _Task) -> bool:
        """Whether a run is ours to train: this process holds the lock of what another machine trains for it."""
        lock = self._store.claim(spec.id)
        if lock is None:
            self._told.append(RunTakenElsewhere(spec.id))
            return False
        if self._store.is_finished(spec.id):
            lock.release()
            self._told.append(RunDone(spec.id))
            return False
        task.locks[spec.id] = lock
        self._store.write_spec(spec)
        return True

    def _are_whole(self, specs: Iterable[RunSpec]) -> bool:
        """Whether all that the runs need is what was written; what is not waits again, and they wait for it."""
        unseen = {need.id for spec in specs for _, need in spec.needs} - self._shipped.keys()
        for run, why in self._store.quarantine_corrupted(unseen, deep=True):
            self._told.append(WarningIssued(why, run))
        return all(self._store.state(run) == "done" for run in unseen)

    def _needed_by(self, specs: Iterable[RunSpec]) -> Iterator[Any]:
        for run in {need.id for spec in specs for _, need in spec.needs}:
            if run not in self._shipped:
                self._shipped[run] = self._ray.put(self._packed(run, NEEDED))
            yield self._shipped[run]

    def _begun(self, specs: Iterable[RunSpec]) -> Any:
        """How far the runs have come, to go on from."""
        files: dict[str, bytes] = {}
        for spec in specs:
            files |= self._packed(spec.id, ("attempt.json", *checkpoints.NAMES))  # the task counts up a copy of its own
            self._store.begin_attempt(spec.id)
        return self._ray.put(files)

    def _packed(self, run: str, names: Iterable[str]) -> dict[str, bytes]:
        found = {f"runs/{run}/{name}": self._store.folder(run) / name for name in names}
        return {name: path.read_bytes() for name, path in found.items() if path.exists()}

    def _over(self) -> list[_Task]:
        """The tasks that have ended; whatever these have told is in the mailbox by now."""
        answers = [task.answer for task in self._tasks.values() if task.answer is not None]
        ready, _ = self._ray.wait(answers, num_returns=len(answers), timeout=0) if answers else ((), ())
        return [task for task in self._tasks.values() if task.answer is None or task.answer in ready]

    def _receive(self, task: _Task, message: RemoteEvent) -> Event:
        for name, content in sorted(message.files.items(), key=_result_last):
            self._write(task.job, PurePosixPath(name), content)
        match message.event:
            case RunDone(run) | RunFailed(run) if run in task.locks:
                task.locks.pop(run).release()
        return message.event

    def _write(self, job: Job, place: PurePosixPath, content: bytes) -> None:
        """Write what another machine has sent, if it is a file of the job's own runs or a timing."""
        match place.parts:
            case ("timings", name) if name.endswith(".json"):
                write_bytes(self._store.timings / name, content)
            case ("runs", run, name) if run in job.runs:
                _write_of_run(self._store, run, name, content)
            case _:
                raise ResultsError(f"a task has sent '{place}', which is no file of its runs; nothing was written")

    def _ended(self, task: _Task) -> Event:
        del self._tasks[task.job.id]
        _release(task)
        try:
            if task.answer is not None:
                self._ray.get(task.answer)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, KdbenchError):
                return JobFailed(str(error.cause))
            return _died(task.job, error)
        except self._ray.exceptions.RayError as error:
            return _died(task.job, error)
        return JobEnded(task.job.id)


class _Mailbox:
    """What tasks have told and nobody has read yet; it lives in a process of its own."""

    def __init__(self) -> None:
        self._letters: list[tuple[int, RemoteEvent]] = []

    def put(self, job: int, event: RemoteEvent) -> None:
        self._letters.append((job, event))

    def take(self) -> list[tuple[int, RemoteEvent]]:
        taken, self._letters = self._letters, []
        return taken


def _do(mailbox: Any, job: int, work: Work, about: tuple[str, Mapping[str, Any], str, int], *inputs: Any) -> None:
    """The task, on whatever machine; it ends when all that it has told has been received."""
    ray = importlib.import_module("ray")
    sent: list[Any] = []
    version, message, device, threads = about
    work(version, message, inputs, device, threads, lambda event: sent.append(mailbox.put.remote(job, event)))
    ray.get(sent)


def _connected(address: str | None) -> tuple[Any, bool]:
    """Ray, connected, and whether that was done here."""
    try:
        ray = importlib.import_module("ray")
    except ImportError as error:
        raise KdbenchError(f"--executor ray needs Ray ({error}); pip install 'kdbench[ray]'") from None
    if ray.is_initialized():
        return ray, False
    try:
        ray.init(address=address, logging_level="ERROR", log_to_driver=False)
    except Exception as error:  # Ray raises nearly anything where nobody answers
        raise KdbenchError(
            f"the Ray cluster at {address or 'this machine'} does not answer ({_line(error)}); start one with "
            "`ray start --head` and give its address"
        ) from error
    return ray, True


def _write_of_run(store: Store, run: str, name: str, content: bytes) -> None:
    folder = store.folder(run)
    match name:
        case "log.txt":
            with writable(folder), (folder / name).open("ab") as log:
                log.write(content)
        case "checkpoint.pt":
            checkpoints.keep(folder, content)
        case "spec.json" | "history.parquet" | "weights.safetensors" | "result.json":
            write_bytes(folder / name, content)
            if name == "result.json":
                checkpoints.remove(folder)
        case _:
            raise ResultsError(f"a task has sent '{name}' of run {run}, which no run leaves; nothing was written")


def _result_last(file: tuple[str, bytes]) -> bool:
    return file[0].endswith("/result.json")


def _release(task: _Task) -> None:
    for lock in task.locks.values():
        lock.release()
    task.locks.clear()


def _died(job: Job, error: Exception) -> Event:
    reason = f"its Ray task died: {_line(error)}"
    return WorkerDied(job.id, job.runs, reason)


def _line(error: Exception) -> str:
    """What Ray says in many lines, in one."""
    return " ".join(str(error).split())[:500]
