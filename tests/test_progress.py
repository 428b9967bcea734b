"""What is told of a matrix while it trains, off a terminal and on one."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from kdbench.matrix import parse
from kdbench.plan import Plan, make_plan
from kdbench.progress import QUIET, Progress
from kdbench.results import Store


@dataclass
class Clock:
    """The time, at will."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Watched:
    """A plan that is told of, and what has been told."""

    plan: Plan
    store: Store
    clock: Clock

    def start(self, terminal: bool = False) -> tuple[Progress, Callable[[], str]]:
        text = io.StringIO()
        console = Console(file=text, width=120, force_terminal=terminal, color_system=None)
        return Progress(self.plan, self.store, console), text.getvalue

    def runs(self, method: str) -> list[str]:
        return [run.id for run in self.plan.runs if run.method == method]


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    clock = Clock()
    monkeypatch.setattr("time.monotonic", clock)
    methods = {name: {} for name in ("vanilla", "logit_mse", "rkd_v1", "rkd_v2", "rkd_d")}
    raw = {
        "name": "m",
        "datasets": ["digits"],
        "pairs": [{"teacher": "cnn_4_8", "student": "mlp_16"}],
        "recipe": {"precision": "fp32"},
        "methods": methods,
    }
    return Watched(make_plan(parse(raw, "m.toml")), Store(tmp_path / "results"), clock)


def epoch(runs: list[str], **more: Any) -> dict[str, Any]:
    told = {"epoch": 3, "epochs": 10, "loss": 1.23456, "val_accuracy": 0.98765, "seconds_left": 75.0}
    return {"event": "epoch", "runs": runs, **told, **more}


def test_what_was_done_before_is_told_first(watched: Watched) -> None:
    watched.store.write_result(watched.plan.runs[0].id, {"status": "done"})
    _, text = watched.start()
    assert text() == "[   0.0 s] 7 runs, 1 of them done before\n"


def test_a_cohort_is_named_by_student_data_seed_and_methods(watched: Watched) -> None:
    progress, text = watched.start()
    watched.clock.now += 61.26
    progress.hear({"event": "cohort", "runs": watched.runs("vanilla") + watched.runs("logit_mse")})
    progress.hear({"event": "cohort", "runs": watched.runs("rkd_v1")})
    assert text().splitlines()[1:] == [
        "[  61.3 s] training mlp_16 on digits, seed 0 (2 runs: vanilla, logit_mse)",
        "[  61.3 s] training mlp_16 on digits, seed 0 (rkd_v1)",
    ]


def test_a_cohort_of_several_students_names_them(watched: Watched) -> None:
    progress, text = watched.start()
    progress.hear({"event": "cohort", "runs": watched.runs("scratch")})
    assert text().endswith("training cnn_4_8, mlp_16 on digits, seed 0 (2 runs: scratch)\n")


def test_of_many_methods_three_are_named(watched: Watched) -> None:
    progress, text = watched.start()
    progress.hear({"event": "cohort", "runs": [run.id for run in watched.plan.runs if run.needs]})
    assert text().endswith("(5 runs: vanilla, logit_mse, rkd_v1, ...)\n")


def test_off_a_terminal_a_cohort_is_heard_of_now_and_then(watched: Watched) -> None:
    progress, text = watched.start()
    runs = watched.runs("vanilla")
    progress.hear({"event": "cohort", "runs": runs})
    before = text()
    for seconds in (0, QUIET - 1, 1, 1, QUIET):
        watched.clock.now += seconds
        progress.hear(epoch(runs))
    told = "mlp_16 on digits, seed 0 (vanilla): epoch 3/10, 1 min 15 s left, loss 1.235, best validation accuracy 0.988"
    assert text().removeprefix(before).splitlines() == [f"[  20.0 s] {told}", f"[  41.0 s] {told}"]


def test_where_nothing_validates_no_accuracy_is_told(watched: Watched) -> None:
    progress, text = watched.start()
    runs = watched.runs("vanilla")
    for _ in range(2):
        progress.hear(epoch(runs, val_accuracy=None))
        watched.clock.now += QUIET
    assert text().endswith("epoch 3/10, 1 min 15 s left, loss 1.235\n")


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (59.6, "1 min 00 s"), (3600, "1 h 00 min"), (7325, "2 h 02 min")]
)
def test_what_is_left_is_told_in_two_units(watched: Watched, seconds: float, words: str) -> None:
    progress, text = watched.start()
    for _ in range(2):
        progress.hear(epoch(watched.runs("vanilla"), seconds_left=seconds))
        watched.clock.now += QUIET
    assert text().endswith(f", {words} left, loss 1.235, best validation accuracy 0.988\n")


def test_the_end_of_a_cohort_is_told_once(watched: Watched) -> None:
    progress, text = watched.start()
    first, second = watched.runs("vanilla") + watched.runs("logit_mse")
    progress.hear({"event": "cohort", "runs": [first, second]})
    before = text()
    progress.hear({"event": "done", "run": first})
    assert text() == before
    progress.hear({"event": "done", "run": second})
    assert text().removeprefix(before) == "[   0.0 s] 2 of 7 runs have ended\n"


def test_a_failure_is_told_as_it_is(watched: Watched) -> None:
    progress, text = watched.start()
    (run,) = watched.runs("vanilla")
    progress.hear({"event": "cohort", "runs": [run]})
    progress.hear({"event": "failed", "run": run, "error": "[red]loss is NaN[/red]"})
    assert text().endswith(f"failed: {run}: [red]loss is NaN[/red]\n")


def test_a_run_that_another_process_trained_ends_too(watched: Watched) -> None:
    progress, text = watched.start()
    progress.hear({"event": "done", "run": watched.plan.runs[0].id})
    assert text().endswith("1 of 7 runs have ended\n")


def test_a_corrupted_run_is_told_and_counts_no_more(watched: Watched) -> None:
    run, other = watched.plan.runs[0].id, watched.plan.runs[1].id
    for done in (run, other):
        watched.store.write_result(done, {"status": "done"})
    progress, text = watched.start()
    watched.store.forget_result(run)
    progress.hear({"event": "warning", "run": run, "text": "corrupted: [b]its weights are missing[/b]"})
    progress.hear({"event": "warning", "run": None, "text": "results.parquet: corrupted; built anew"})
    progress.hear({"event": "done", "run": run})
    assert text().splitlines()[1:] == [
        f"warning: {run}: corrupted: [b]its weights are missing[/b]",
        "warning: results.parquet: corrupted; built anew",
        "[   0.0 s] 2 of 7 runs have ended",
    ]


def test_a_run_that_goes_on_is_told_with_its_epoch(watched: Watched) -> None:
    progress, text = watched.start()
    progress.hear({"event": "resumed", "run": watched.runs("vanilla")[0], "epoch": 7})
    assert text().endswith("mlp_16 on digits, seed 0 (vanilla) goes on from epoch 7\n")


def test_a_halved_cohort_is_told(watched: Watched) -> None:
    progress, text = watched.start()
    runs = watched.runs("vanilla") + watched.runs("logit_mse")
    progress.hear({"event": "memory", "runs": runs, "text": "out of memory: trained in halves"})
    told = "mlp_16 on digits, seed 0 (2 runs: vanilla, logit_mse): out of memory: trained in halves\n"
    assert text().endswith(told)


@pytest.mark.parametrize(
    ("methods", "told"),
    [(["vanilla", "logit_mse"], "(2 runs: vanilla, logit_mse): tried again, each alone; "), (["vanilla"], "again; ")],
)
def test_a_death_is_told_with_what_becomes_of_its_runs(watched: Watched, methods: list[str], told: str) -> None:
    progress, text = watched.start()
    runs = [run for method in methods for run in watched.runs(method)]
    progress.hear({"event": "cohort", "runs": runs})
    progress.hear({"event": "died", "job": 1, "runs": runs, "reason": "the worker died (signal 9)"})
    assert text().endswith(f"{told}the worker died (signal 9)\n")
    progress.hear({"event": "cohort", "runs": runs[:1]})
    progress.hear({"event": "done", "run": runs[0]})
    assert text().endswith("1 of 7 runs have ended\n")


def test_a_run_that_failed_with_its_worker_is_not_tried_again(watched: Watched) -> None:
    progress, text = watched.start()
    (run,) = watched.runs("vanilla")
    progress.hear({"event": "cohort", "runs": [run]})
    progress.hear({"event": "failed", "run": run, "error": "the worker died (signal 9)"})
    progress.hear({"event": "died", "job": 1, "runs": [run], "reason": "the worker died (signal 9)"})
    assert "tried again" not in text()
    assert text().count("the worker died (signal 9)") == 1


def test_the_death_of_a_worker_whose_runs_are_done_is_told(watched: Watched) -> None:
    progress, text = watched.start()
    (run,) = watched.runs("vanilla")
    progress.hear({"event": "done", "run": run})
    progress.hear({"event": "died", "job": 1, "runs": [run], "reason": "the worker died (signal 9)"})
    assert text().splitlines()[-1] == "the worker died (signal 9)"


def test_stopping_is_told_with_how_to_be_faster(watched: Watched) -> None:
    progress, text = watched.start()
    progress.hear({"event": "stopping"})
    assert text().endswith("stopping: the workers leave within seconds; once more ends them at once\n")


def test_timing_is_told(watched: Watched) -> None:
    progress, text = watched.start()
    progress.hear({"event": "timing", "run": watched.plan.runs[0].id, "student": "cnn_4_8"})
    assert text().endswith("timing the inference of cnn_4_8\n")


def test_what_it_does_not_know_it_leaves_alone(watched: Watched) -> None:
    progress, text = watched.start()
    before = text()
    progress.hear({"event": "ready"})
    progress.hear({"event": "begun", "job": 1})
    progress.hear({"event": "idle", "job": 1})
    progress.hear({"event": "taken", "run": watched.plan.runs[0].id})
    assert text() == before


def test_on_a_terminal_the_cohorts_are_shown_while_they_train(watched: Watched) -> None:
    progress, text = watched.start(terminal=True)
    runs = watched.runs("vanilla")
    with progress:
        progress.hear({"event": "cohort", "runs": runs})
        progress.hear(epoch(runs))
        shown = Console(width=120, file=io.StringIO())
        shown.print(progress._view())
        assert isinstance(shown.file, io.StringIO)
        lines = shown.file.getvalue().splitlines()
        assert lines[0].startswith("mlp_16 on digits, seed 0 (vanilla)  epoch 3/10, 1 min 15 s left, loss 1.235, best")
        assert "0/7" in lines[1]
        progress.hear({"event": "done", "run": runs[0]})
    last = [line for line in text().splitlines() if "/7" in line][-1]
    assert "1/7" in last
    assert "epoch" not in text().partition(last)[2]
    assert " s] " not in text()
