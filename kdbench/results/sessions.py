"""The sessions of a results folder: one file per command that trains, rewritten while it runs and kept afterwards."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, final

from pydantic import AwareDatetime, Field, TypeAdapter, ValidationError

from kdbench.errors import ResultsError
from kdbench.results.files import corrupted, read_checked_json, without_remedy, write_checked_json
from kdbench.results.processes import is_alive, pid_space

INTERVAL = 2.0  # seconds between two writes of a session that is running
MAX_AGE = 30.0  # seconds without a write after which the command is taken for dead

Count = Annotated[int, Field(ge=0, le=10**9)]
Seconds = Annotated[float, Field(ge=0, le=1e10, allow_inf_nan=False)]
Text = Annotated[str, Field(max_length=10_000)]  # the limit also refuses text that is not valid Unicode
Finite = Annotated[float, Field(allow_inf_nan=False)]


@final
@dataclass(frozen=True)
class WorkerActivity:
    """What a worker does.

    Attributes:
        worker: the number of its slot, counted from 1.
        state: "starting" until its process has started the job.
        seconds: how long it has been in this state.
        task: the networks, data set, seed and methods of its runs, or the network that it times.
        runs: the ids of its runs that have not finished.
        epoch: the last epoch that ended, counted from 1; None before the first.
        epochs: the number of epochs of each run.
        seconds_left: until its last epoch ends, estimated.
        loss: mean of the runs' losses in the last epoch.
        val_accuracy: the best validation accuracy of its runs in the last epoch, in [0, 1].
    """

    worker: Annotated[int, Field(ge=1, le=10**9)]
    state: Literal["idle", "starting", "training", "measuring", "timing"]
    seconds: Seconds
    task: Text = ""
    runs: tuple[Text, ...] = ()
    epoch: Count | None = None
    epochs: Count | None = None
    seconds_left: Seconds | None = None
    loss: Finite | None = None
    val_accuracy: Finite | None = None

    def after(self, seconds: float) -> "WorkerActivity":
        """Return the same some seconds later."""
        left = None if self.seconds_left is None else max(0.0, self.seconds_left - seconds)
        return replace(self, seconds=self.seconds + seconds, seconds_left=left)


@final
@dataclass(frozen=True)
class Session:
    """What a command has trained of a matrix, and in what time; while it runs also what its workers do.

    Attributes:
        matrix: the name of the matrix.
        host: the name of the command's machine.
        pid: the number of the command's process.
        pid_space: where that number is valid.
        started: when the command started.
        updated: when this was written.
        wall_seconds: from the start of the command to the end of training and timing, or until now.
        busy_seconds: the time of all workers in which they had a job.
        slots: the number of workers that can have a job at the same time.
        epochs: for each run that the command trained, the number of epochs.
        done: the runs that it finished.
        failed: the runs that failed.
        has_ended: False while the command runs, or if it was killed.
        is_interrupted: whether it ended before it had trained everything.
        seconds_left: until everything is trained and timed, estimated.
        workers: what each worker does.
    """

    matrix: Text
    host: Text
    pid: Count
    pid_space: Text
    started: AwareDatetime
    updated: AwareDatetime
    wall_seconds: Seconds
    busy_seconds: Seconds
    slots: Count
    epochs: Mapping[Text, Count] = field(default_factory=dict, hash=False)
    done: tuple[Text, ...] = ()
    failed: tuple[Text, ...] = ()
    has_ended: bool = False
    is_interrupted: bool = False
    seconds_left: Seconds | None = None
    workers: tuple[WorkerActivity, ...] = ()

    @property
    def age(self) -> float:
        """Seconds since it was written."""
        return (datetime.now(UTC) - self.updated).total_seconds()

    @property
    def is_running(self) -> bool:
        """Whether the command still runs: it writes every few seconds, and its process exists if that can be seen."""
        is_dead = self.pid_space == pid_space() != "" and not is_alive(self.pid)
        return not self.has_ended and abs(self.age) <= MAX_AGE and not is_dead

    def as_of_now(self) -> "Session":
        """Return a running session with its durations counted on from when it was written."""
        age = max(0.0, self.age)
        left = None if self.seconds_left is None else max(0.0, self.seconds_left - age)
        workers = tuple(worker.after(age) for worker in self.workers)
        return replace(self, wall_seconds=self.wall_seconds + age, seconds_left=left, workers=workers)

    @property
    def has_trained(self) -> bool:
        """Whether any worker has trained an epoch, or any run has ended."""
        return bool(self.epochs or self.done or self.failed)


def write_session(path: Path, session: Session) -> None:
    """Write a session.

    Raises:
        StorageError: the folder cannot be written to.
    """
    times = {"started": session.started.isoformat(), "updated": session.updated.isoformat()}
    write_checked_json(path, asdict(session) | times)


def read_session(path: Path) -> Session:
    """Return a session.

    Raises:
        ResultsError: the file is corrupted.
        FileNotFoundError: the file is missing.
    """
    try:
        return _adapter().validate_python(read_checked_json(path))
    except ValidationError as error:
        raise corrupted(path, error) from None


def read_sessions(folder: Path, matrix: str | None = None) -> list[Session]:
    """Return all sessions of a folder, or those of one matrix, by their start; corrupted files are skipped."""
    found = [session for _, session in _read_all(folder) if isinstance(session, Session)]
    return sorted((one for one in found if matrix in (None, one.matrix)), key=lambda session: session.started)


def copy_sessions(target: Path, source: Path) -> list[str]:
    """Copy the sessions that `target` lacks and whose command has ended; return their names.

    Raises:
        StorageError: the target cannot be written to.
    """
    copied = []
    for path, session in _read_all(source):
        if isinstance(session, Session) and not session.is_running and not (target / path.name).exists():
            write_session(target / path.name, session)
            copied.append(path.stem)
    return copied


def unused_sessions(folder: Path) -> Iterator[Path]:
    """Yield the files of commands that were killed before they had trained anything."""
    for path, session in _read_all(folder):
        if isinstance(session, Session) and not (session.has_ended or session.is_running or session.has_trained):
            yield path


def corrupted_sessions(folder: Path) -> Iterator[str]:
    """Yield a text for each file of a folder that is not a session."""
    for _, session in _read_all(folder):
        if isinstance(session, ResultsError):
            yield f"{without_remedy(session)}; left out of the wall time in reports; delete the file"


def _read_all(folder: Path) -> Iterator[tuple[Path, Session | ResultsError]]:
    for path in sorted(folder.glob("*.json")):
        try:
            yield path, read_session(path)
        except ResultsError as error:
            yield path, error
        except FileNotFoundError:
            continue


@cache
def _adapter() -> TypeAdapter[Session]:
    return TypeAdapter(Session)
