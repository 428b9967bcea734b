"""What workers, executors, the scheduler and the runner emit while a plan is trained: one frozen dataclass per kind.

Events are objects inside a process. `to_json` and `from_json` are for the pipe between a worker and its executor.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, final, get_args


@final
@dataclass(frozen=True)
class WorkerReady:
    """A worker process has started and accepts jobs."""


@final
@dataclass(frozen=True)
class WorkerDied:
    """A worker process ended during a job. `was_ready` is False if it ended before it could start any job."""

    job: int
    runs: tuple[str, ...]
    reason: str
    was_ready: bool = True


@final
@dataclass(frozen=True)
class SlotsCounted:
    """The executor has `count` slots, each for one worker; emitted before the first job, and when it changes."""

    count: int


@final
@dataclass(frozen=True)
class JobStarted:
    """A worker started a job; always the first event of the job."""

    job: int


@final
@dataclass(frozen=True)
class JobEnded:
    """A worker finished a job and is idle."""

    job: int


@final
@dataclass(frozen=True)
class JobFailed:
    """A job failed for a reason that would fail every job, such as a full disk."""

    error: str


@final
@dataclass(frozen=True)
class CohortStarted:
    """A cohort was submitted. `worker` is the number of the slot that trains it, counted from 1."""

    job: int
    worker: int
    runs: tuple[str, ...]


@final
@dataclass(frozen=True)
class CohortHalved:
    """A cohort ran out of memory; its halves train one after the other."""

    runs: tuple[str, ...]


@final
@dataclass(frozen=True)
class EpochEnded:
    """A cohort finished an epoch.

    Attributes:
        runs: the ids of its runs.
        epoch: the epoch, counted from 1.
        epochs: the number of epochs of each run.
        loss: mean of the runs' losses.
        val_accuracy: the best of the runs' accuracies, in [0, 1].
        seconds_left: until the last epoch of this cohort ends, estimated.
        seconds: wall time of the epoch with its evaluation, without checkpoints.
        run_seconds: for each run, the part of it that its own steps and its evaluation took; the rest is shared.
    """

    runs: tuple[str, ...]
    epoch: int
    epochs: int
    loss: float
    val_accuracy: float | None
    seconds_left: float
    seconds: float = 0.0
    run_seconds: tuple[float, ...] = ()


@final
@dataclass(frozen=True)
class CheckpointSaved:
    """Checkpoints of some runs were written. `epoch` is the last epoch they contain, counted from 1."""

    runs: tuple[str, ...]
    epoch: int


@final
@dataclass(frozen=True)
class RunResumed:
    """A run resumes from a checkpoint. `epoch` is the next epoch to train, counted from 1."""

    run: str
    epoch: int


@final
@dataclass(frozen=True)
class RunDone:
    """A run finished and its results are on disk."""

    run: str


@final
@dataclass(frozen=True)
class RunFailed:
    """A run failed and its error is on disk."""

    run: str
    error: str


@final
@dataclass(frozen=True)
class RunTakenElsewhere:
    """Another process holds the lock of a run and trains it."""

    run: str


@final
@dataclass(frozen=True)
class RunsGivenAway:
    """A worker has written checkpoints of some runs of its job after `epoch` epochs, and goes on without them."""

    job: int
    runs: tuple[str, ...]
    epoch: int


@final
@dataclass(frozen=True)
class TimeLeft:
    """The seconds until all runs of the command have finished, estimated."""

    seconds: float


@final
@dataclass(frozen=True)
class MeasurementStarted:
    """A job was submitted that measures a few steps of each of these runs, which it does not train."""

    job: int
    worker: int
    runs: tuple[str, ...]


@final
@dataclass(frozen=True)
class RunMeasured:
    """A few steps of a run were measured.

    Attributes:
        run: the run, which was not trained.
        own: seconds of its own per step.
        shared: seconds per step of what it would share with a cohort.
        evaluation: seconds of its scores after an epoch.
    """

    run: str
    own: float
    shared: float
    evaluation: float


@final
@dataclass(frozen=True)
class TimingStarted:
    """The inference of a deployed network is being timed."""

    run: str
    network: str


@final
@dataclass(frozen=True)
class InferenceTimed:
    """The inference time of the network that a run deploys is on disk."""

    run: str


@final
@dataclass(frozen=True)
class WarningIssued:
    """Something needs attention but does not stop training. `run` is None if it concerns no single run."""

    text: str
    run: str | None = None


@final
@dataclass(frozen=True)
class StopRequested:
    """The user interrupted the command; workers are being stopped."""


Event = (
    WorkerReady
    | WorkerDied
    | SlotsCounted
    | JobStarted
    | JobEnded
    | JobFailed
    | CohortStarted
    | CohortHalved
    | EpochEnded
    | CheckpointSaved
    | RunResumed
    | RunDone
    | RunFailed
    | RunTakenElsewhere
    | RunsGivenAway
    | TimeLeft
    | MeasurementStarted
    | RunMeasured
    | TimingStarted
    | InferenceTimed
    | WarningIssued
    | StopRequested
)
EventHandler = Callable[[Event], None]
_KINDS: dict[str, Callable[..., Event]] = {kind.__name__: kind for kind in get_args(Event)}


@final
@dataclass(frozen=True)
class RemoteEvent:
    """An event from a machine that does not share the results folder, with the files that belong to it.

    `files` maps a path below the results folder to its content.
    """

    event: Event
    files: Mapping[str, bytes]


def to_json(event: Event) -> dict[str, Any]:
    """Return an event as a JSON object; the key "event" holds its kind.

    >>> to_json(RunFailed("3f2a", "loss is NaN"))
    {'event': 'RunFailed', 'run': '3f2a', 'error': 'loss is NaN'}
    """
    return {"event": type(event).__name__, **asdict(event)}


def from_json(data: Mapping[str, Any]) -> Event:
    """Return the event that `to_json` turned into `data`.

    Raises:
        KeyError: the kind is unknown.
        TypeError: a field is missing or unknown.
    """
    fields = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items() if key != "event"}
    return _KINDS[data["event"]](**fields)
