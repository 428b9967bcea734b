"""How a matrix is getting on: live bars on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, final

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.table import Table
from rich.text import Text

from kdbench.errors import printable_lines
from kdbench.formatting import format_duration
from kdbench.results import Store

if TYPE_CHECKING:
    from kdbench.plan import Plan

QUIET = 20.0


@final
class Progress:
    """Tells of the runs of a plan while they train."""

    def __init__(self, plan: "Plan", store: Store, console: Console) -> None:
        self._console = console
        self._specs = {run.id: run for run in plan.runs}
        self._store = store
        self._ended = {run for run in self._specs if store.is_finished(run)}
        self._failed: set[str] = set()
        self._bars = Bars(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
        )
        self._task = self._bars.add_task(plan.matrix.name, total=len(self._specs), completed=len(self._ended))
        self._cohorts: dict[str, Mapping[str, Any]] = {}  # a cohort, by its first run, and what it told last
        self._members: dict[str, str] = {}  # run -> its cohort
        self._told: dict[str, float] = {}  # when a cohort was heard of last
        self._live = Live(self._view(), console=console, refresh_per_second=4) if console.is_terminal else None
        self._started = time.monotonic()
        self._say(f"{len(self._specs)} runs, {len(self._ended)} of them done before")

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

    def hear(self, event: Mapping[str, Any]) -> None:
        """Take note of what the queue tells."""
        match event["event"]:
            case "cohort":
                self._begin(event["runs"])
            case "epoch":
                self._cohorts[self._members.get(event["runs"][0], event["runs"][0])] = event
                self._tell_epoch(event)
            case "done" | "failed":
                self._end(event)
            case "warning":
                self._warn(event)
            case "resumed":
                self._say(f"{self._name([event['run']])} goes on from epoch {event['epoch']}")
            case "memory":
                self._alert(f"{self._name(event['runs'])}: {event['text']}")
            case "died":
                self._lose(event)
            case "stopping":
                self._alert("stopping: the workers leave within seconds; once more ends them at once")
            case "timing":
                self._say(f"timing the inference of {event['student']}")
        if self._live is not None:
            self._live.update(self._view())

    def _begin(self, runs: list[str]) -> None:
        self._members |= dict.fromkeys(runs, runs[0])
        self._cohorts[runs[0]] = {"runs": runs}
        self._say(f"training {self._name(runs)}")

    def _tell_epoch(self, event: Mapping[str, Any]) -> None:
        """Off a terminal a cohort is heard of at most once in `QUIET` seconds."""
        cohort, now = self._members.get(event["runs"][0], event["runs"][0]), time.monotonic()
        if now - self._told.get(cohort, now) >= QUIET:
            self._say(f"{self._name(event['runs'])}: {_told(event)}")
            self._told[cohort] = now
        self._told.setdefault(cohort, now)

    def _end(self, event: Mapping[str, Any]) -> None:
        self._ended.add(event["run"])
        self._bars.update(self._task, completed=len(self._ended))
        cohort = self._members.pop(event["run"], event["run"])
        if cohort not in self._members.values():
            self._cohorts.pop(cohort, None)
        if event["event"] == "failed":
            self._failed.add(event["run"])
            failure = f"failed: {event['run']}: {event['error']}"
            self._console.print(Text(printable_lines(failure), style="red"), soft_wrap=True)
        elif cohort not in self._members.values():
            self._say(f"{len(self._ended)} of {len(self._specs)} runs have ended")

    def _warn(self, event: Mapping[str, Any]) -> None:
        """A warning may be that a run, which has ended, must be repeated."""
        run = event.get("run")
        if run in self._ended and not self._store.is_finished(run):
            self._ended.discard(run)
        self._bars.update(self._task, completed=len(self._ended))
        about = f"{run}: " if run else ""
        self._alert(f"warning: {about}{event['text']}")

    def _lose(self, event: Mapping[str, Any]) -> None:
        """The runs of a worker that died wait again, but for those that had ended."""
        left = [run for run in event["runs"] if run not in self._ended]
        if self._failed.issuperset(event["runs"]):
            return  # each has told the reason
        for run in event["runs"]:
            self._cohorts.pop(self._members.pop(run, run), None)
        again = f"{self._name(left)}: tried again{', each alone' * (len(left) > 1)}; " if left else ""
        self._alert(f"{again}{event['reason']}")

    def _alert(self, text: str) -> None:
        self._console.print(Text(printable_lines(text), style="yellow"), soft_wrap=True)

    def _say(self, text: str) -> None:
        if self._live is None:
            self._console.print(Text(f"[{time.monotonic() - self._started:6.1f} s] {text}"), soft_wrap=True)

    def _name(self, runs: list[str]) -> str:
        first = self._specs[runs[0]]
        students = _listed(self._specs[run].student.name for run in runs)
        many = f"{len(runs)} runs: " if len(runs) > 1 else ""
        methods = _listed(self._specs[run].method for run in runs)
        return f"{students} on {first.dataset.name}, seed {first.seed} ({many}{methods})"

    def _view(self) -> Group:
        grid = Table.grid(padding=(0, 2))
        grid.add_column(overflow="ellipsis", no_wrap=True)
        grid.add_column(no_wrap=True)
        for event in self._cohorts.values():
            grid.add_row(Text(self._name(event["runs"])), Text(_told(event) if "epoch" in event else "starting"))
        return Group(grid, self._bars)


def _listed(names: Iterable[str], most: int = 3) -> str:
    """Each name once, and the first few of many."""
    different = list(dict.fromkeys(names))
    return ", ".join([*different[:most], *(["..."] if len(different) > most else [])])


def _told(event: Mapping[str, Any]) -> str:
    accuracy = event["val_accuracy"]
    told = f"epoch {event['epoch']}/{event['epochs']}, {format_duration(event['seconds_left'])} left, loss {event['loss']:.3f}"
    return told if accuracy is None else f"{told}, best validation accuracy {accuracy:.3f}"
