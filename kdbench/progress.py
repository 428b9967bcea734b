"""Progress of a plan: live bars in a terminal or a notebook with ipywidgets, one line per message elsewhere."""

import importlib.util
import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, final

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from kdbench.errors import printable_lines
from kdbench.events import (
    CohortHalved,
    CohortStarted,
    EpochEnded,
    Event,
    RunDone,
    RunFailed,
    RunResumed,
    StopRequested,
    TimingStarted,
    WarningIssued,
    WorkerDied,
)
from kdbench.formatting import format_duration, format_run
from kdbench.results import Store

if TYPE_CHECKING:
    from kdbench.plan import Plan

INTERVAL = 20.0  # seconds between two lines about one cohort, without a live display


@final
class Progress:
    """A display of the runs of a plan: a context manager whose `on_event` handles the events of `run_plan`."""

    def __init__(self, plan: "Plan", store: Store, console: Console) -> None:
        self._console = console
        phase, title = ("search: ", f"{plan.matrix.name}: search") if plan.is_search else ("", plan.matrix.name)
        self._store = store
        self._specs = {run.id: run for run in plan.runs}
        self._labels = {run.id: cell.label for cell in reversed(plan.cells) for run in cell.runs.values()}
        self._finished = {run for run in self._specs if store.is_finished(run)}
        self._failed: set[str] = set()
        self._cohort_of: dict[str, str] = {}  # run -> first run of its cohort
        self._cohorts: dict[str, CohortStarted | EpochEnded] = {}  # first run of a cohort -> its latest event
        self._printed_at: dict[str, float] = {}  # first run of a cohort -> time of its latest line
        self._started_at = time.monotonic()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bars = Bars(*columns, console=console)
        self._task = self._bars.add_task(title, total=len(self._specs), completed=len(self._finished))
        self._live = Live(self._view(), console=console, refresh_per_second=4) if _can_refresh(console) else None
        self._log(f"{phase}{len(self._specs)} runs, {len(self._finished)} already finished")

    def __enter__(self) -> "Progress":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._cohorts.clear()
            self._live.update(self._view())
            self._live.stop()

    def on_event(self, event: Event) -> None:
        """Update the display after an event."""
        match event:
            case CohortStarted(runs=runs):
                self._start_cohort(event)
                self._log(f"training {self._name(runs)}")
            case EpochEnded():
                self._show_epoch(event)
            case RunDone(run) | RunFailed(run):
                self._finish(run, event.error if isinstance(event, RunFailed) else None)
            case WorkerDied():
                self._release(event)
            case WarningIssued():
                self._show_warning(event)
            case _:
                self._show_message(event)
        if self._live is not None:
            self._live.update(self._view())

    def _start_cohort(self, event: CohortStarted) -> None:
        self._cohort_of |= dict.fromkeys(event.runs, event.runs[0])
        self._cohorts[event.runs[0]] = event

    def _show_epoch(self, event: EpochEnded) -> None:
        cohort, now = self._cohort_of.get(event.runs[0], event.runs[0]), time.monotonic()
        self._cohorts[cohort] = event
        if now - self._printed_at.setdefault(cohort, now) >= INTERVAL:
            self._log(f"{self._name(event.runs)}: {_describe(event)}")
            self._printed_at[cohort] = now

    def _finish(self, run: str, error: str | None) -> None:
        self._finished.add(run)
        self._bars.update(self._task, completed=len(self._finished))
        cohort = self._cohort_of.pop(run, run)
        is_last = cohort not in self._cohort_of.values()
        if is_last:
            self._cohorts.pop(cohort, None)
        if error is not None:
            self._failed.add(run)
            self._print(f"failed: {self._describe_run(run)}: {error}", "red")
        elif is_last:
            self._log(f"{len(self._finished)} of {len(self._specs)} runs finished")

    def _release(self, event: WorkerDied) -> None:
        if self._failed.issuperset(event.runs):
            return  # `_finish` has printed the reason of each
        for run in event.runs:
            self._cohorts.pop(self._cohort_of.pop(run, run), None)
        unfinished = [run for run in event.runs if run not in self._finished]
        alone = ", each run alone" if len(unfinished) > 1 else ""
        retry = f"; retrying {self._name(unfinished)}{alone}" if unfinished else ""
        self._print(f"{event.reason}{retry}", "yellow")

    def _show_warning(self, event: WarningIssued) -> None:
        if event.run in self._finished and not self._store.is_finished(event.run):
            self._finished.discard(event.run)  # its files are corrupted, so it trains again
        self._bars.update(self._task, completed=len(self._finished))
        run = f"{event.run}: " if event.run else ""
        self._print(f"warning: {run}{event.text}", "yellow")

    def _show_message(self, event: Event) -> None:
        match event:
            case RunResumed(run, epoch):
                self._log(f"{self._name([run])} resumes at epoch {epoch}")
            case CohortHalved(runs):
                self._print(f"{self._name(runs)}: out of memory; training its halves one after the other", "yellow")
            case TimingStarted(_, network):
                self._log(f"timing the inference of {network}")
            case StopRequested():
                self._print("stopping: workers exit within 5 s; press Ctrl-C again to kill them", "yellow")

    def _print(self, text: str, style: str) -> None:
        self._console.print(Text(printable_lines(text), style=style), soft_wrap=True)

    def _log(self, text: str) -> None:
        """Print a line with the elapsed time, unless there is a live display."""
        if self._live is None:
            self._console.print(Text(f"[{time.monotonic() - self._started_at:6.1f} s] {text}"), soft_wrap=True)

    def _name(self, runs: Sequence[str]) -> str:
        first = self._specs[runs[0]]
        students = _join(self._specs[run].student.name for run in runs)
        methods = _join(self._specs[run].method for run in runs)
        count = f"{len(runs)} runs: " if len(runs) > 1 else ""
        return f"{students} on {first.dataset.name}, seed {first.seed} ({count}{methods})"

    def _describe_run(self, run: str) -> str:
        spec = self._specs[run]
        return format_run(self._labels.get(run, spec.method), spec.seed, run)

    def _view(self) -> Group:
        grid = Table.grid(padding=(0, 2))
        grid.add_column(overflow="ellipsis", no_wrap=True)
        grid.add_column(no_wrap=True)
        for event in self._cohorts.values():
            state = _describe(event) if isinstance(event, EpochEnded) else "starting"
            grid.add_row(Text(self._name(event.runs)), Text(state))
        return Group(grid, self._bars)


def _can_refresh(console: Console) -> bool:
    """Return whether a part of the output can be redrawn."""
    return console.is_terminal or (console.is_jupyter and importlib.util.find_spec("ipywidgets") is not None)


def _join(names: Iterable[str], limit: int = 3) -> str:
    """Join the distinct names, at most `limit` of them."""
    distinct = list(dict.fromkeys(names))
    return ", ".join([*distinct[:limit], *(["..."] if len(distinct) > limit else [])])


def _describe(event: EpochEnded) -> str:
    accuracy = "" if event.val_accuracy is None else f", best validation accuracy {event.val_accuracy:.3f}"
    left = format_duration(event.seconds_left)
    return f"epoch {event.epoch}/{event.epochs}, {left} left, loss {event.loss:.3f}{accuracy}"
