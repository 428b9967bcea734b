"""Progress of a plan: live bars in a terminal or a notebook with ipywidgets, one line per message elsewhere."""

import importlib.util
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, final

from rich.console import Console
from rich.live import Live
from rich.text import Text

from kdbench.errors import printable_lines
from kdbench.events import (
    CohortHalved,
    CohortStarted,
    EpochEnded,
    Event,
    MeasurementStarted,
    RunDone,
    RunFailed,
    RunResumed,
    RunsGivenAway,
    StopRequested,
    TimingStarted,
    WarningIssued,
    WorkerDied,
)
from kdbench.formatting import count_of, format_duration, format_run
from kdbench.matrix import RunSpec
from kdbench.progress.live import LiveView
from kdbench.results import Store
from kdbench.sessions import Activity
from kdbench.sessions.text import describe_idle, describe_worker

if TYPE_CHECKING:
    from kdbench.plan import Plan

INTERVAL = 20.0  # seconds between two lines about one worker, without a live display
OVERVIEW_INTERVAL = 60.0  # the same of lines about all runs


@final
class Progress:
    """A display of the runs of a plan: a context manager whose `on_event` handles the events of `run_plan`.

    `activity` must have the runs of the plan and handle each event before `on_event` is called.
    """

    def __init__(self, store: Store, console: Console, activity: Activity) -> None:
        self._console = console
        self._store = store
        self._activity = activity
        self._specs: dict[str, RunSpec] = {}
        self._labels: dict[str, str] = {}
        self._finished: set[str] = set()
        self._failed: set[str] = set()
        self._given_away: dict[str, tuple[int | None, int]] = {}  # run -> its last worker, and the epochs it has
        self._printed_at: dict[int | None, float] = {}  # worker -> time of the latest line about it; None: all
        self._view = LiveView(activity, console)
        self._live = Live(self._view, console=console, refresh_per_second=2) if _can_refresh(console) else None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._view.has_ended = True
            self._live.stop()

    def show(self, plan: "Plan") -> None:
        """Display the runs of a plan, and those that its searches will add; it may replace another one."""
        self._specs = {run.id: run for run in plan.runs}
        self._labels = {run.id: cell.label for cell in reversed(plan.cells) for run in cell.runs.values()}
        self._finished = {run for run in self._specs if self._store.is_finished(run)}
        self._view.title = plan.matrix.name
        total, self._view.total = self._view.total, len(plan.choose_first().runs)
        self._view.completed = len(self._finished)
        if self._live is not None:
            self._live.start()
        if self._view.total != total:
            searched = {run.id for sweep in plan.sweeps for cell in sweep.search for run in cell.runs.values()}
            search = f", {len(searched)} of them in the search" if searched else ""
            self._log(f"{count_of(self._view.total, 'run')}{search}, {len(self._finished)} already finished")

    def on_event(self, event: Event) -> None:
        """Update the display after an event."""
        match event:
            case CohortStarted():
                self._start_cohort(event)
            case EpochEnded(runs):
                self._log_epoch(runs)
            case RunDone(run) | RunFailed(run):
                self._finish(run, event.error if isinstance(event, RunFailed) else None)
            case RunsGivenAway(_, runs, epoch):
                self._given_away |= {run: (self._activity.worker_of(run), epoch) for run in runs if epoch}
            case WorkerDied():
                self._show_death(event)
            case WarningIssued():
                self._show_warning(event)
            case _:
                self._show_message(event)
        self._log_overview()

    def _start_cohort(self, event: CohortStarted) -> None:
        self._printed_at[event.worker] = self._activity.wall_seconds
        origin, *others = {self._given_away.get(run) for run in event.runs}
        moved = "" if others or origin is None else f", from worker {origin[0]} after epoch {origin[1]}"
        self._log(f"worker {event.worker}: training {self._name(event.runs)}{moved}")

    def _log_epoch(self, runs: Sequence[str]) -> None:
        number = self._activity.worker_of(runs[0])
        worker = next((one for one in self._activity.workers() if one.worker == number), None)
        if worker is not None and self._is_due(number, INTERVAL):
            self._log(f"worker {number}: {', '.join(filter(None, describe_worker(worker)))}")

    def _is_due(self, worker: int | None, interval: float) -> bool:
        """Return whether it is time for another line about a worker, or about all runs."""
        now = self._activity.wall_seconds
        is_due = now - self._printed_at.setdefault(worker, now) >= interval
        if is_due:
            self._printed_at[worker] = now
        return is_due

    def _log_overview(self) -> None:
        if self._is_due(None, OVERVIEW_INTERVAL) and len(self._finished) < self._view.total:
            idle = describe_idle(self._activity.workers())
            self._log(self._count_finished() + (f"; {idle}" if idle else ""))

    def _count_finished(self) -> str:
        left = self._activity.seconds_left if len(self._finished) < self._view.total else None
        about = "" if left is None else f", about {format_duration(left)} left"
        return f"{len(self._finished)} of {self._view.total} runs finished{about}"

    def _finish(self, run: str, error: str | None) -> None:
        self._finished.add(run)
        self._view.completed = len(self._finished)
        if error is not None:
            self._failed.add(run)
            self._print(f"failed: {self._describe_run(run)}: {error}", "red")
        elif not self._is_cohort_training(run):
            self._log(self._count_finished())

    def _is_cohort_training(self, run: str) -> bool:
        """Return whether other runs of a run's cohort are still training."""
        worker = self._activity.worker_of(run)
        return any(one.worker == worker and one.runs for one in self._activity.workers())

    def _show_death(self, event: WorkerDied) -> None:
        if self._failed.issuperset(event.runs):
            return  # `_finish` has printed the reason of each
        unfinished = [run for run in event.runs if run not in self._finished]
        alone = ", each run alone" if len(unfinished) > 1 else ""
        retry = f"; retrying {self._name(unfinished)}{alone}" if unfinished else ""
        self._print(f"{event.reason}{retry}", "yellow")

    def _show_warning(self, event: WarningIssued) -> None:
        if event.run in self._finished and not self._store.is_finished(event.run):
            self._finished.discard(event.run)  # its files are corrupted, so it trains again
            self._view.completed = len(self._finished)
        run = f"{event.run}: " if event.run else ""
        self._print(f"warning: {run}{event.text}", "yellow")

    def _show_message(self, event: Event) -> None:
        match event:
            case RunResumed(run, epoch):
                if self._given_away.pop(run, None) is None:
                    self._log(f"{self._name([run])} resumes at epoch {epoch}")
            case CohortHalved(runs):
                self._print(f"{self._name(runs)}: out of memory; training its halves one after the other", "yellow")
            case MeasurementStarted(_, worker, runs):
                self._log(f"worker {worker}: measuring a few steps of {count_of(len(runs), 'run')}")
            case TimingStarted(_, network):
                self._log(f"timing the inference of {network}")
            case StopRequested():
                self._print("stopping: workers exit within 5 s; press Ctrl-C again to kill them", "yellow")

    def _print(self, text: str, style: str) -> None:
        self._console.print(Text(printable_lines(text), style=style), soft_wrap=True)

    def _log(self, text: str) -> None:
        """Print a line with the time since the start of the command, unless there is a live display."""
        if self._live is None:
            self._console.print(Text(f"[{self._activity.wall_seconds:6.1f} s] {text}"), soft_wrap=True)

    def _name(self, runs: Sequence[str]) -> str:
        return self._activity.name(runs)

    def _describe_run(self, run: str) -> str:
        spec = self._specs[run]
        return format_run(self._labels.get(run, spec.method), spec.seed, run)


def _can_refresh(console: Console) -> bool:
    """Return whether a part of the output can be redrawn."""
    return console.is_terminal or (console.is_jupyter and importlib.util.find_spec("ipywidgets") is not None)
