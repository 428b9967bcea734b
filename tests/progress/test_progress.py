"""The display of a plan's progress, as lines and on a terminal."""

import importlib.util
import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from kdbench.events import (
    CheckpointSaved,
    CohortHalved,
    CohortStarted,
    EpochEnded,
    Event,
    InferenceTimed,
    JobEnded,
    JobStarted,
    RunDone,
    RunFailed,
    RunResumed,
    RunsGivenAway,
    RunTakenElsewhere,
    SlotsCounted,
    StopRequested,
    TimeLeft,
    TimingStarted,
    WarningIssued,
    WorkerDied,
    WorkerReady,
)
from kdbench.matrix import parse
from kdbench.plan import Plan, make_plan
from kdbench.progress import INTERVAL, OVERVIEW_INTERVAL, Progress
from kdbench.results import Store
from kdbench.sessions import Activity

DEATH = "the worker died (signal 9)"


@dataclass
class Clock:
    """A clock that moves only by hand."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Shown:
    """A display of progress, and the activity that handles each event first."""

    progress: Progress
    activity: Activity
    console: Console

    def on_event(self, event: Event) -> None:
        self.activity.handle(event)
        self.progress.on_event(event)

    def lines(self) -> list[str]:
        """What the live display shows now."""
        text = io.StringIO()
        Console(file=text, width=self.console.width).print(self.progress._view)
        return [line.rstrip() for line in text.getvalue().splitlines()]


@dataclass
class Display:
    """A plan, and displays of its progress."""

    plan: Plan
    store: Store
    clock: Clock
    stack: ExitStack

    def start(self, terminal: bool = False, width: int = 120) -> tuple["Shown", Callable[[], str]]:
        text = io.StringIO()
        console = Console(file=text, width=width, height=24, force_terminal=terminal, color_system=None)
        activity = Activity()
        activity.add_runs(self.plan.runs)
        progress = self.stack.enter_context(Progress(self.store, console, activity))
        progress.show(self.plan)
        return Shown(progress, activity, console), text.getvalue

    def runs(self, *methods: str) -> tuple[str, ...]:
        return tuple(run.id for method in methods for run in self.plan.runs if run.method == method)


@pytest.fixture
def display(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Display]:
    clock = Clock()
    monkeypatch.setattr("time.monotonic", clock)
    with ExitStack() as stack:
        plan = plan_with("vanilla", "logit_mse", "rkd_v1", "rkd_v2", "rkd_d")
        yield Display(plan, Store(tmp_path / "results"), clock, stack)


def plan_with(*methods: str) -> Plan:
    raw = {
        "name": "m",
        "datasets": ["digits"],
        "pairs": [{"teacher": "cnn_4_8", "student": "mlp_16"}],
        "recipe": {"precision": "fp32"},
        "methods": {name: {} for name in methods},
    }
    return make_plan(parse(raw, "m.toml"))


def epoch(runs: tuple[str, ...], **changes: Any) -> EpochEnded:
    values: dict[str, Any] = {"epoch": 3, "epochs": 10, "loss": 1.23456, "val_accuracy": 0.98765, "seconds_left": 75.0}
    return EpochEnded(runs, **{**values, **changes})


def test_the_first_line_counts_finished_runs(display: Display) -> None:
    display.store.write_result(display.plan.runs[0].id, {"status": "done"})
    _, text = display.start()
    assert text() == "[   0.0 s] 7 runs, 1 already finished\n"


def test_runs_that_a_search_adds_are_counted(display: Display) -> None:
    whole, display.plan = display.plan, plan_with("vanilla")
    progress, text = display.start()
    display.store.write_result(whole.runs[0].id, {"status": "done"})
    progress.progress.show(whole)
    progress.progress.show(whole)
    assert text().splitlines() == [
        "[   0.0 s] 3 runs, 0 already finished",
        "[   0.0 s] 7 runs, 1 already finished",
    ]


def test_a_terminal_has_one_bar_for_all_plans(display: Display) -> None:
    whole, display.plan = display.plan, plan_with("vanilla")
    progress, text = display.start(terminal=True)
    assert "0/3" in progress.lines()[-1]
    progress.progress.show(whole)
    assert "0/7" in progress.lines()[-1]
    display.stack.close()
    assert "0/7" in [line for line in text().splitlines() if "/" in line][-1]


def test_a_cohort_is_named_by_student_data_seed_and_methods(display: Display) -> None:
    progress, text = display.start()
    display.clock.now += 61.26
    progress.on_event(CohortStarted(1, 1, display.runs("vanilla", "logit_mse")))
    progress.on_event(CohortStarted(2, 2, display.runs("rkd_v1")))
    assert text().splitlines()[1:] == [
        "[  61.3 s] worker 1: training mlp_16 on digits, seed 0 (2 runs: vanilla, logit_mse)",
        "[  61.3 s] worker 2: training mlp_16 on digits, seed 0 (rkd_v1)",
    ]


def test_a_cohort_with_several_students_names_each(display: Display) -> None:
    progress, text = display.start()
    progress.on_event(CohortStarted(1, 1, display.runs("scratch")))
    assert text().endswith("training cnn_4_8, mlp_16 on digits, seed 0 (2 runs: scratch)\n")


def test_at_most_three_methods_are_named(display: Display) -> None:
    progress, text = display.start()
    progress.on_event(CohortStarted(1, 1, tuple(run.id for run in display.plan.runs if run.needs)))
    assert text().endswith("(5 runs: vanilla, logit_mse, rkd_v1, ...)\n")


def test_epochs_of_a_worker_are_logged_at_intervals(display: Display) -> None:
    progress, text = display.start()
    runs = display.runs("vanilla")
    progress.on_event(CohortStarted(1, 2, runs))
    before = text()
    for seconds in (0, INTERVAL - 1, 1, 1, INTERVAL):
        display.clock.now += seconds
        progress.on_event(epoch(runs))
    scores = "loss 1.235, best validation accuracy 0.988"
    line = f"worker 2: mlp_16 on digits, seed 0 (vanilla), epoch 3/10, 1 min 15 s left, {scores}"
    assert text().removeprefix(before).splitlines() == [f"[  20.0 s] {line}", f"[  41.0 s] {line}"]


def test_without_validation_no_accuracy_is_shown(display: Display) -> None:
    progress, text = display.start()
    runs = display.runs("vanilla")
    progress.on_event(CohortStarted(1, 1, runs))
    display.clock.now += INTERVAL
    progress.on_event(epoch(runs, val_accuracy=None))
    assert text().endswith("epoch 3/10, 1 min 15 s left, loss 1.235\n")


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0.4, "0 s"), (59.6, "1 min 00 s"), (3600, "1 h 00 min"), (7325, "2 h 02 min")]
)
def test_the_time_left_has_at_most_two_units(display: Display, seconds: float, expected: str) -> None:
    progress, text = display.start()
    progress.on_event(CohortStarted(1, 1, display.runs("vanilla")))
    display.clock.now += INTERVAL
    progress.on_event(epoch(display.runs("vanilla"), seconds_left=seconds))
    assert text().endswith(f", {expected} left, loss 1.235, best validation accuracy 0.988\n")


def test_a_line_is_logged_when_the_last_run_of_a_cohort_is_done(display: Display) -> None:
    progress, text = display.start()
    first, second = display.runs("vanilla", "logit_mse")
    progress.on_event(CohortStarted(1, 1, (first, second)))
    before = text()
    progress.on_event(RunDone(first))
    assert text() == before
    progress.on_event(RunDone(second))
    assert text().removeprefix(before) == "[   0.0 s] 2 of 7 runs finished\n"


def test_a_failure_is_printed_without_markup(display: Display) -> None:
    progress, text = display.start()
    (run,) = display.runs("vanilla")
    progress.on_event(CohortStarted(1, 1, (run,)))
    progress.on_event(RunFailed(run, "[red]loss is NaN[/red]"))
    assert text().endswith(f"failed: vanilla, seed 0 ({run[:8]}): [red]loss is NaN[/red]\n")


def test_a_run_that_another_process_finished_is_counted(display: Display) -> None:
    progress, text = display.start()
    progress.on_event(RunDone(display.plan.runs[0].id))
    assert text().endswith("1 of 7 runs finished\n")


def test_a_corrupted_run_is_no_longer_counted(display: Display) -> None:
    run, other = display.plan.runs[0].id, display.plan.runs[1].id
    for done in (run, other):
        display.store.write_result(done, {"status": "done"})
    progress, text = display.start()
    display.store.clear_result(run)
    progress.on_event(WarningIssued("corrupted: [b]its weights are missing[/b]", run))
    progress.on_event(WarningIssued("results.parquet: corrupted; rebuilt"))
    progress.on_event(RunDone(run))
    assert text().splitlines()[1:] == [
        f"warning: {run}: corrupted: [b]its weights are missing[/b]",
        "warning: results.parquet: corrupted; rebuilt",
        "[   0.0 s] 2 of 7 runs finished",
    ]


def test_a_resumed_run_is_logged_with_its_next_epoch(display: Display) -> None:
    progress, text = display.start()
    progress.on_event(RunResumed(display.runs("vanilla")[0], 13))
    assert text().endswith("mlp_16 on digits, seed 0 (vanilla) resumes at epoch 13\n")


def test_a_halved_cohort_is_printed(display: Display) -> None:
    progress, text = display.start()
    progress.on_event(CohortHalved(display.runs("vanilla", "logit_mse")))
    name = "mlp_16 on digits, seed 0 (2 runs: vanilla, logit_mse)"
    assert text().endswith(f"{name}: out of memory; training its halves one after the other\n")


@pytest.mark.parametrize(
    ("methods", "retry"),
    [
        (["vanilla", "logit_mse"], "(2 runs: vanilla, logit_mse), each run alone\n"),
        (["vanilla"], "(vanilla)\n"),
    ],
)
def test_a_death_is_printed_with_the_runs_to_retry(display: Display, methods: list[str], retry: str) -> None:
    progress, text = display.start()
    runs = display.runs(*methods)
    progress.on_event(CohortStarted(1, 1, runs))
    progress.on_event(WorkerDied(1, runs, DEATH))
    assert text().endswith(f"\n{DEATH}; retrying mlp_16 on digits, seed 0 {retry}")
    progress.on_event(CohortStarted(1, 1, runs[:1]))
    progress.on_event(RunDone(runs[0]))
    assert text().endswith("1 of 7 runs finished\n")


def test_a_run_that_failed_with_its_worker_is_not_retried(display: Display) -> None:
    progress, text = display.start()
    (run,) = display.runs("vanilla")
    progress.on_event(CohortStarted(1, 1, (run,)))
    progress.on_event(RunFailed(run, DEATH))
    progress.on_event(WorkerDied(1, (run,), DEATH))
    assert "retrying" not in text()
    assert text().count(DEATH) == 1


def test_the_death_of_a_worker_whose_runs_are_done_is_printed(display: Display) -> None:
    progress, text = display.start()
    (run,) = display.runs("vanilla")
    progress.on_event(RunDone(run))
    progress.on_event(WorkerDied(1, (run,), DEATH))
    assert text().splitlines()[-1] == DEATH


def test_an_interrupt_is_answered_with_how_to_kill_the_workers(display: Display) -> None:
    progress, text = display.start()
    progress.on_event(StopRequested())
    assert text().endswith("stopping: workers exit within 5 s; press Ctrl-C again to kill them\n")


def test_the_timing_of_a_network_is_logged(display: Display) -> None:
    progress, text = display.start()
    progress.on_event(TimingStarted(display.plan.runs[0].id, "cnn_4_8"))
    assert text().endswith("timing the inference of cnn_4_8\n")


def test_other_events_print_nothing(display: Display) -> None:
    progress, text = display.start()
    before, run = text(), display.plan.runs[0].id
    events = (WorkerReady(), JobStarted(1), JobEnded(1), RunTakenElsewhere(run), InferenceTimed(run))
    for event in (*events, CheckpointSaved((run,), 3)):
        progress.on_event(event)
    assert text() == before


def test_runs_given_away_are_one_line(display: Display) -> None:
    progress, text = display.start()
    runs = display.runs("vanilla", "logit_mse", "rkd_v1")
    progress.on_event(CohortStarted(1, 1, runs))
    progress.on_event(epoch(runs))
    before = text()
    progress.on_event(RunsGivenAway(1, runs[1:], 3))
    progress.on_event(CohortStarted(2, 2, runs[1:]))
    for run in runs[1:]:
        progress.on_event(RunResumed(run, 4))
    line = "worker 2: training mlp_16 on digits, seed 0 (2 runs: logit_mse, rkd_v1), from worker 1 after epoch 3"
    assert text().removeprefix(before) == f"[   0.0 s] {line}\n"
    progress.on_event(RunDone(runs[0]))
    assert text().endswith("1 of 7 runs finished\n"), "the other worker trains the rest of the cohort"


def test_runs_given_away_before_they_began_are_trained_like_others(display: Display) -> None:
    progress, text = display.start()
    runs = display.runs("vanilla", "logit_mse")
    progress.on_event(CohortStarted(1, 1, runs))
    progress.on_event(RunsGivenAway(1, runs[1:], 0))
    progress.on_event(CohortStarted(2, 2, runs[1:]))
    assert text().endswith("worker 2: training mlp_16 on digits, seed 0 (logit_mse)\n")


def test_a_run_given_away_that_resumes_later_again_is_logged(display: Display) -> None:
    progress, text = display.start()
    (run,) = display.runs("vanilla")
    progress.on_event(CohortStarted(1, 1, (run,)))
    progress.on_event(RunsGivenAway(1, (run,), 3))
    progress.on_event(RunResumed(run, 4))
    progress.on_event(RunResumed(run, 6))
    assert text().count("resumes at epoch") == text().count("resumes at epoch 6") == 1


def test_the_time_left_of_all_runs_is_logged_with_finished_runs_and_counts_down(display: Display) -> None:
    progress, text = display.start()
    progress.on_event(TimeLeft(100.0))
    display.clock.now += 30
    progress.on_event(RunDone(display.runs("vanilla")[0]))
    assert text().endswith("1 of 7 runs finished, about 1 min 10 s left\n")


def test_no_time_is_left_when_all_runs_have_finished(display: Display) -> None:
    progress, text = display.start()
    progress.on_event(TimeLeft(1.0))
    for run in display.plan.runs:
        progress.on_event(RunDone(run.id))
    assert text().endswith("7 of 7 runs finished\n")
    assert " left" not in progress.lines()[-1]


def test_all_runs_and_idle_workers_are_logged_at_intervals(display: Display) -> None:
    progress, text = display.start()
    runs = display.runs("vanilla")
    for event in (SlotsCounted(3), CohortStarted(1, 2, runs), JobStarted(1), TimeLeft(1000.0)):
        progress.on_event(event)
    before = text()
    display.clock.now += OVERVIEW_INTERVAL - 1
    progress.on_event(WorkerReady())
    assert text() == before
    display.clock.now += 1
    progress.on_event(WorkerReady())
    idle = "worker 1 idle for 1 min 00 s, worker 3 idle for 1 min 00 s"
    assert text().removeprefix(before) == f"[  60.0 s] 0 of 7 runs finished, about 15 min 40 s left; {idle}\n"


def test_many_idle_workers_are_counted(display: Display) -> None:
    progress, text = display.start()
    progress.on_event(SlotsCounted(8))
    progress.on_event(CohortStarted(1, 1, display.runs("vanilla")))
    display.clock.now += OVERVIEW_INTERVAL
    progress.on_event(WorkerReady())
    assert text().endswith("0 of 7 runs finished; 7 of 8 workers idle\n")


def test_a_terminal_shows_each_worker(display: Display) -> None:
    progress, text = display.start(terminal=True)
    runs = display.runs("vanilla")
    with progress.progress:
        for event in (SlotsCounted(2), CohortStarted(1, 2, runs), JobStarted(1), TimeLeft(200.0)):
            progress.on_event(event)
        progress.on_event(epoch(runs))
        display.clock.now += 15
        first, second, bar = progress.lines()
        assert first == "worker 1  idle for 15 s"
        assert second.startswith(
            "worker 2  mlp_16 on digits, seed 0 (vanilla)  epoch 3/10, 1 min 00 s left  loss 1.235, b"
        )
        assert bar.split(maxsplit=1) == ["m", "0/7 15 s, about 3 min 05 s left"]
        progress.on_event(RunDone(runs[0]))
    last = [line for line in text().splitlines() if "/7" in line][-1]
    assert "1/7 15 s" in last
    assert "epoch" not in text().partition(last)[2]
    assert " s] " not in text()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_is_wider_than_the_terminal_and_the_times_are_whole(display: Display, width: int) -> None:
    progress, _ = display.start(terminal=True, width=width)
    runs = display.runs("vanilla", "logit_mse", "rkd_v1", "rkd_v2")
    for event in (CohortStarted(1, 1, runs), epoch(runs, seconds_left=4000.0), TimeLeft(100_000.0)):
        progress.on_event(event)
    worker, bar = progress.lines()
    assert max(len(worker), len(bar)) <= width
    assert "epoch 3/10, 1 h 06 min left" in worker
    assert bar.endswith(" 0/7 0 s, about 27 h 46 min left")
    assert ("loss" in worker) is (width == 120)


def test_with_more_workers_than_lines_those_with_a_job_are_shown(display: Display) -> None:
    progress, _ = display.start(terminal=True)
    progress.on_event(SlotsCounted(100))
    progress.on_event(CohortStarted(1, 90, display.runs("vanilla")))
    lines = progress.lines()
    assert len(lines) < 24
    assert any(line.startswith("worker 90  mlp_16 on digits") for line in lines)
    assert lines[-2].strip() == "and 80 more, 80 of them idle"


@pytest.mark.parametrize("has_widgets", [True, False])
def test_a_notebook_shows_bars_with_ipywidgets_and_lines_without(
    display: Display, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], has_widgets: bool
) -> None:
    find = importlib.util.find_spec
    found = find("json") if has_widgets else None
    monkeypatch.setattr("importlib.util.find_spec", lambda name: found if name == "ipywidgets" else find(name))
    with Progress(display.store, Console(width=120, force_jupyter=True), Activity()) as progress:
        progress.show(display.plan)
        shown = capsys.readouterr().out
    assert (shown == "") is has_widgets
