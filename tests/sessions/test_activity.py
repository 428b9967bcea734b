"""What workers do, from events and a clock that moves by hand."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from kdbench.events import (
    CohortStarted,
    EpochEnded,
    Event,
    JobEnded,
    JobStarted,
    RunDone,
    RunFailed,
    RunsGivenAway,
    RunTakenElsewhere,
    SlotsCounted,
    TimeLeft,
    TimingStarted,
    WorkerDied,
)
from kdbench.matrix import RunSpec
from kdbench.matrix.recipe import Recipe
from kdbench.matrix.spec import DataSpec, NetworkSpec, Part, Split
from kdbench.results.sessions import WorkerActivity
from kdbench.sessions import Activity


@dataclass
class Command:
    """An activity, and the clock that it reads."""

    now: float = 100.0
    activity: Activity = field(init=False)

    def __post_init__(self) -> None:
        self.activity = Activity(lambda: self.now)

    def at(self, seconds: float, *events: Event) -> None:
        """Handle events some seconds after the start."""
        self.now = 100.0 + seconds
        for event in events:
            self.activity.handle(event)

    def worker(self, number: int) -> WorkerActivity:
        return next(worker for worker in self.activity.workers() if worker.worker == number)


@pytest.fixture
def command() -> Command:
    return Command()


def epoch(*runs: str, epoch: int = 1, seconds_left: float = 60.0, loss: float = 0.5) -> EpochEnded:
    return EpochEnded(runs, epoch, 10, loss, 0.75, seconds_left)


def test_a_worker_is_busy_from_the_start_to_the_end_of_its_jobs(command: Command) -> None:
    command.at(5, SlotsCounted(2), CohortStarted(1, 1, ("a",)))
    assert command.activity.busy_seconds == 0
    command.at(8, JobStarted(1))
    command.at(10, CohortStarted(2, 2, ("b",)), JobStarted(2))
    assert command.activity.busy_seconds == 2
    command.at(18, JobEnded(1))
    command.at(20)
    assert command.activity.busy_seconds == 10 + 10
    assert (command.activity.wall_seconds, command.activity.slots) == (20, 2)


def test_a_worker_that_died_was_busy_until_then(command: Command) -> None:
    command.at(0, CohortStarted(1, 1, ("a",)), JobStarted(1))
    command.at(7, WorkerDied(1, ("a",), "signal 9"))
    command.at(9)
    assert command.activity.busy_seconds == 7
    assert command.worker(1) == WorkerActivity(1, "idle", 2)


def test_a_worker_that_died_before_its_job_was_not_busy(command: Command) -> None:
    command.at(0, CohortStarted(1, 1, ("a",)))
    command.at(7, WorkerDied(1, ("a",), "no torch", was_ready=False))
    assert command.activity.busy_seconds == 0


def test_the_clock_stops_with_the_command(command: Command) -> None:
    command.at(0, CohortStarted(1, 1, ("a",)), JobStarted(1))
    command.at(30)
    command.activity.stop()
    command.at(99)
    assert (command.activity.wall_seconds, command.activity.busy_seconds) == (30, 30)


def test_the_clock_stops_at_the_end_of_the_last_job(command: Command) -> None:
    command.at(0, CohortStarted(1, 1, ("a",)), JobStarted(1))
    command.at(30, JobEnded(1))
    command.at(40)
    command.activity.stop()
    assert (command.activity.wall_seconds, command.activity.busy_seconds) == (30, 30)


def test_a_worker_starts_trains_and_is_idle(command: Command) -> None:
    command.at(2, SlotsCounted(1))
    command.at(5)
    assert command.worker(1) == WorkerActivity(1, "idle", 3)
    command.at(5, CohortStarted(1, 1, ("a", "b")))
    command.at(6)
    assert command.worker(1) == WorkerActivity(1, "starting", 1, runs=("a", "b"))
    command.at(9, JobStarted(1))
    command.at(10)
    assert command.worker(1) == WorkerActivity(1, "training", 1, runs=("a", "b"))
    command.at(20, epoch("a", "b", epoch=3))
    command.at(25)
    scores = {"loss": 0.5, "val_accuracy": 0.75}
    expected = WorkerActivity(1, "training", 16, runs=("a", "b"), epoch=3, epochs=10, seconds_left=55, **scores)
    assert command.worker(1) == expected
    command.at(90)
    assert command.worker(1).seconds_left == 0
    command.at(91, RunDone("a"), RunDone("b"), JobEnded(1))
    command.at(95)
    assert command.worker(1) == WorkerActivity(1, "idle", 4)


def test_a_loss_that_is_not_finite_is_left_out(command: Command) -> None:
    command.at(0, CohortStarted(1, 1, ("a",)), JobStarted(1), epoch("a", loss=float("nan")))
    assert command.worker(1).loss is None


@pytest.mark.parametrize(
    "event", [RunDone("a"), RunFailed("a", "NaN"), RunTakenElsewhere("a"), RunsGivenAway(1, ("a",), 3)]
)
def test_a_run_leaves_its_worker(command: Command, event: Event) -> None:
    command.at(0, CohortStarted(1, 1, ("a", "b")), JobStarted(1), event)
    assert command.worker(1).runs == ("b",)


def test_a_run_given_away_moves_to_another_worker(command: Command) -> None:
    command.at(0, SlotsCounted(2), CohortStarted(1, 1, ("a", "b")), JobStarted(1), epoch("a", "b", epoch=4))
    command.at(5, RunsGivenAway(1, ("b",), 4))
    assert command.activity.worker_of("b") == 1
    command.at(6, CohortStarted(2, 2, ("b",)), JobStarted(2), epoch("b", epoch=5), epoch("a", epoch=5))
    assert [command.worker(number).runs for number in (1, 2)] == [("a",), ("b",)]
    assert command.activity.worker_of("b") == 2
    assert command.activity.epochs == {"a": 5 - 3, "b": 5 - 3}
    command.at(10, JobEnded(1))
    command.at(12, JobEnded(2))
    assert command.activity.busy_seconds == 10 + 6


def test_epochs_are_those_of_this_command_and_count_once(command: Command) -> None:
    command.at(0, CohortStarted(1, 1, ("a",)), *(epoch("a", epoch=number) for number in (5, 6, 7)))
    command.at(1, WorkerDied(1, ("a",), "signal 9"))
    command.at(2, CohortStarted(2, 1, ("a",)), *(epoch("a", epoch=number) for number in (7, 8)), RunDone("a"))
    assert command.activity.epochs == {"a": 4}
    assert command.activity.done == ("a",)


def test_a_failed_run_that_is_done_in_the_end_has_not_failed(command: Command) -> None:
    command.at(0, RunFailed("a", "no memory"), RunFailed("b", "NaN"), RunDone("a"))
    assert (command.activity.done, command.activity.failed) == (("a",), ("b",))


def test_a_job_without_a_cohort_times_a_network_on_the_first_idle_worker(command: Command) -> None:
    command.at(0, SlotsCounted(2), CohortStarted(1, 1, ("a",)), JobStarted(1))
    command.at(5, TimingStarted("a", "mlp_16"), JobStarted(2))
    command.at(6)
    assert command.worker(2) == WorkerActivity(2, "timing", 1, "mlp_16")
    command.at(8, JobEnded(2))
    assert command.activity.busy_seconds == 8 + 3


def test_the_time_left_counts_down_to_zero(command: Command) -> None:
    assert command.activity.seconds_left is None
    command.at(10, TimeLeft(50.0))
    command.at(15)
    assert command.activity.seconds_left == 45
    command.at(80)
    assert command.activity.seconds_left == 0


def test_slots_can_be_added_and_removed(command: Command) -> None:
    command.at(0, SlotsCounted(1))
    command.at(5, SlotsCounted(3), CohortStarted(1, 3, ("a",)))
    command.at(9, SlotsCounted(2))
    assert [(one.worker, one.state, one.seconds) for one in command.activity.workers()] == [
        (1, "idle", 9),
        (2, "idle", 4),
        (3, "starting", 4),
    ]
    command.at(9, JobEnded(1))
    assert [one.worker for one in command.activity.workers()] == [1, 2]
    assert command.activity.slots == 3, "the busy share is of all that there were"


def test_jobs_of_another_scheduler_have_the_same_numbers(command: Command) -> None:
    command.at(0, CohortStarted(1, 1, ("a",)), JobStarted(1))
    command.at(4, CohortStarted(1, 1, ("b",)), JobStarted(1))
    command.at(6)
    assert command.activity.busy_seconds == 6
    assert command.worker(1).runs == ("b",)


def test_events_of_unknown_jobs_and_runs_change_nothing(command: Command) -> None:
    command.at(0, SlotsCounted(1), JobEnded(7), WorkerDied(8, ("x",), "gone"), RunTakenElsewhere("x"))
    assert command.activity.workers() == (WorkerActivity(1, "idle", 0),)


@pytest.fixture
def spec() -> Callable[..., RunSpec]:
    def make(method: str, seed: int = 0) -> RunSpec:
        return RunSpec(DataSpec("digits", "digits"), NetworkSpec("mlp_8"), (Part(method),), Recipe(), Split(), seed)

    return make


def test_a_task_names_the_runs_that_are_left(command: Command, spec: Callable[..., RunSpec]) -> None:
    first, second = spec("vanilla"), spec("scratch")
    command.activity.add_runs([first, second])
    command.at(0, CohortStarted(1, 1, (first.id, second.id)))
    assert command.worker(1).task == "mlp_8 on digits, seed 0 (2 runs: vanilla, scratch)"
    command.at(1, RunDone(first.id))
    assert command.worker(1).task == "mlp_8 on digits, seed 0 (scratch)"
