"""`status` and `show`."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdbench.results import Store


def lines(text: str) -> dict[str, str]:
    """The rows of `show`: key -> value."""
    pairs = [line.split(maxsplit=1) for line in text.splitlines() if line.strip()]
    return {pair[0]: pair[1].strip() for pair in pairs if len(pair) == 2}


def run_of(tiny: Any, label: str) -> str:
    """The first run of a label."""
    index = Store(tiny.results, create=False).index("tiny")
    assert index is not None
    return next(next(iter(cell.runs.values())) for cell in index.cells if cell.label == label)


def test_status_counts_the_states(tiny: Any, say: Callable[..., Any]) -> None:
    counts = {"runs": 9, "done": 9, "failed": 0, "running": 0, "waiting": 0, "impossible": 2}
    assert json.loads(say("status", "--results", tiny.results, "--json").out) == {"tiny": counts}
    words = [line.split() for line in say("status", "--results", tiny.results).out.splitlines()]
    assert ["tiny", *map(str, counts.values())] in words


def test_status_tells_what_failed_waits_and_runs(copied: Any, say: Callable[..., Any]) -> None:
    store = Store(copied.results)
    teacher, scratch, first = (run_of(copied, label) for label in ("teacher", "scratch", "vanilla"))
    store.write_result(teacher, {"status": "failed", "error": "out of memory"})
    store.forget_result(scratch)
    store.forget_result(first)
    with store.lock(first):
        counts = json.loads(say("status", "--json").out)["tiny"]
    assert counts == {"runs": 9, "done": 6, "failed": 1, "running": 1, "waiting": 1, "impossible": 2}


def test_status_imports_no_torch_and_no_pandas(tiny: Any, modules_after: Callable[..., set[str]]) -> None:
    assert not modules_after("status", "--results", tiny.results) & {"torch", "pandas", "optuna"}


def test_status_of_a_folder_without_matrices(say: Callable[..., Any], tmp_path: Path) -> None:
    Store(tmp_path / "results")
    assert say("status").out == "results: no matrix was run here yet\n"
    assert json.loads(say("status", "--json").out) == {}


def test_status_makes_no_folder(say: Callable[..., Any], tmp_path: Path) -> None:
    said = say("status", "--results", "nowhere")
    assert said.status == 1
    assert said.error == "nowhere: there is no such results folder; `kdbench run MATRIX` makes one"
    assert list(tmp_path.iterdir()) == []


def test_show_tells_a_run(tiny: Any, say: Callable[..., Any]) -> None:
    run = run_of(tiny, "vanilla")
    said = say("show", run, "--results", tiny.results)
    shown = lines(said.out)
    assert said.status == 0
    assert (shown["run"], shown["state"], shown["method"], shown["student"]) == (run, "done", "vanilla", "mlp_16")
    assert (shown["alpha"], shown["temperature"], shown["recipe.epochs"]) == ("0.5", "4", "2")
    assert shown["teacher"] == f"cnn_8_16 (run {run_of(tiny, 'teacher')})"
    row = (Store(tiny.results).result(run) or {})["row"]
    assert shown["test_accuracy"] == f"{row['test_accuracy']:.5g}"


def test_show_tells_what_is_zero(copied: Any, say: Callable[..., Any]) -> None:
    store, run = Store(copied.results), run_of(copied, "vanilla")
    result = store.result(run) or {}
    store.write_result(run, {**result, "row": {**result["row"], "best_epoch": 0, "test_accuracy": 0.0}})
    shown = lines(say("show", run).out)
    assert (shown["best_epoch"], shown["test_accuracy"]) == ("0", "0")


def test_show_finds_a_run_by_its_first_digits(tiny: Any, say: Callable[..., Any]) -> None:
    run = run_of(tiny, "scratch")
    beginning = next(run[:n] for n in range(1, 17) if sum(r.startswith(run[:n]) for r in all_runs(tiny)) == 1)
    assert lines(say("show", beginning, "--results", tiny.results).out)["run"] == run


def all_runs(tiny: Any) -> list[str]:
    return Store(tiny.results).run_ids()


def test_show_refuses_what_no_run_begins_with(tiny: Any, say: Callable[..., Any]) -> None:
    said = say("show", "xyz", "--results", tiny.results)
    assert said.status == 1
    assert said.error.startswith(f"xyz: no such run in {tiny.results}; valid: ")


def test_show_refuses_what_several_runs_begin_with(copied: Any, say: Callable[..., Any]) -> None:
    store = Store(copied.results)
    first, *_ = store.run_ids()
    twin = first[:8] + ("0" * 8 if first[8:] != "0" * 8 else "1" * 8)
    (store.folder(twin)).mkdir()
    (store.folder(twin) / "spec.json").write_bytes((store.folder(first) / "spec.json").read_bytes())
    assert say("show", first[:8]).error == f"{first[:8]}: 2 runs begin so; give more digits"


def test_show_tells_the_error_of_a_failed_run(copied: Any, say: Callable[..., Any]) -> None:
    run = run_of(copied, "vanilla")
    Store(copied.results).write_result(run, {"status": "failed", "error": "[red]loss is NaN[/red]", "row": {}})
    shown = lines(say("show", run).out)
    assert (shown["state"], shown["error"]) == ("failed", "[red]loss is NaN[/red]")


def test_show_of_a_damaged_run_names_the_file(copied: Any, say: Callable[..., Any]) -> None:
    run = run_of(copied, "vanilla")
    (copied.results / "runs" / run / "spec.json").write_text('{"dataset": 3}')
    said = say("show", run)
    assert said.status == 1
    assert f"{run}/spec.json: damaged" in said.error


@pytest.mark.parametrize("graduate", ["ensemble", "peer1"])
def test_show_tells_of_further_graduates(copied: Any, say: Callable[..., Any], graduate: str) -> None:
    store, run = Store(copied.results), run_of(copied, "vanilla")
    store.write_result(run, {**(store.result(run) or {}), "graduates": {graduate: {"test_accuracy": 0.123456789}}})
    assert re.search(rf"^{graduate}: test_accuracy +0\.12346 *$", say("show", run).out, re.MULTILINE)
