"""What a terminal or a notebook shows while a plan is trained: a line per worker, and a bar."""

from collections.abc import Sequence
from typing import final

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from kdbench.formatting import format_duration
from kdbench.results.sessions import WorkerActivity
from kdbench.sessions import Activity
from kdbench.sessions.text import describe_worker

SHORTEST_TASK, SHORTEST_BAR, LONGEST_BAR = 30, 4, 40  # columns
GAP = 2


@final
class LiveView:
    """A line per worker while the plan is trained, and a bar with the number of finished runs and the time left.

    Every rendering shows the state at that moment.
    """

    def __init__(self, activity: Activity, console: Console) -> None:
        self.title = ""
        self.total = self.completed = 0
        self.has_ended = False
        self._activity = activity
        self._console = console

    def __rich__(self) -> Group:
        """Return what is rendered."""
        return Group(self._bar()) if self.has_ended else Group(self._workers(), self._bar())

    def _workers(self) -> Table:
        workers = self._activity.workers()
        shown = _select(workers, max(3, self._console.height - 3))
        rows = [(f"worker {worker.worker}", *describe_worker(worker)) for worker in shown]
        if hidden := [worker for worker in workers if worker not in shown]:
            idle = sum(worker.state == "idle" for worker in hidden)
            rows.append(("", f"and {len(hidden)} more, {idle} of them idle", "", ""))
        return _fit(rows, self._console.width)

    def _bar(self) -> Table:
        count = f"{self.completed}/{self.total}"
        times = f"{format_duration(self._activity.wall_seconds)}{self._time_left()}"
        room = self._console.width - sum(cell_len(text) + 1 for text in (self.title, count, times))
        bar = ProgressBar(max(1, self.total), self.completed, width=min(LONGEST_BAR, room))
        shown: list[RenderableType] = [bar] if room >= SHORTEST_BAR else []
        cells = (Text(self.title), *shown, Text(count), Text(times))
        grid = Table.grid(padding=(0, 1))
        for _ in cells:
            grid.add_column(no_wrap=True)
        grid.add_row(*cells)
        return grid

    def _time_left(self) -> str:
        left = self._activity.seconds_left
        return (
            ""
            if left is None or self.completed >= self.total or self.has_ended
            else f", about {format_duration(left)} left"
        )


def _select(workers: tuple[WorkerActivity, ...], limit: int) -> tuple[WorkerActivity, ...]:
    """Return at most `limit` workers, those with a job first, in the order of their numbers."""
    if len(workers) <= limit:
        return workers
    chosen = sorted(workers, key=lambda worker: worker.state == "idle")[: limit - 1]
    return tuple(sorted(chosen, key=lambda worker: worker.worker))


def _fit(rows: Sequence[tuple[str, ...]], width: int) -> Table:
    """Return rows as a grid: on a narrow terminal the second column is cut, and the last one is left out."""
    widths = [max((cell_len(row[column]) for row in rows), default=0) for column in range(4)]
    room = width - widths[0] - widths[2] - widths[3] - 3 * GAP
    has_scores = room >= min(SHORTEST_TASK, widths[1])
    room += 0 if has_scores else widths[3] + GAP
    grid = Table.grid(padding=(0, GAP))
    for column in range(4 if has_scores else 3):
        grid.add_column(no_wrap=True, overflow="ellipsis", max_width=max(1, room) if column == 1 else None)
    for row in rows:
        grid.add_row(*map(Text, row[: len(grid.columns)]))
    return grid
