"""`status` and `show`."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kdbench.results import Store, checkpoints


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
    counts = {"runs": 9, "done": 9, "failed": 0, "running": 0, "pending": 0, "incompatible": 2}
    found = json.loads(say("status", "--results", tiny.results, "--json").out)
    assert found == {"tiny": {**counts, "attempts": {}, "corrupted": {}}}
    words = [line.split() for line in say("status", "--results", tiny.results).out.splitlines()]
    assert ["tiny", *map(str, counts.values())] in words


def test_status_tells_what_failed_waits_and_runs(copied: Any, say: Callable[..., Any]) -> None:
    store = Store(copied.results)
    teacher, scratch, first = (run_of(copied, label) for label in ("teacher", "scratch", "vanilla"))
    store.write_result(teacher, {"status": "failed", "error": "out of memory"})
    store.clear_result(scratch)
    store.clear_result(first)
    with store.lock(first):
        counts = json.loads(say("status", "--json").out)["tiny"]
    expected = {"runs": 9, "done": 6, "failed": 1, "running": 1, "pending": 1, "incompatible": 2}
    assert counts == {**expected, "attempts": {scratch: 1}, "corrupted": {}}


def test_status_tells_the_attempts_of_runs_whose_process_died(copied: Any, say: Callable[..., Any]) -> None:
    """Begun, with a checkpoint, and held by nobody: waiting."""
    store, run = Store(copied.results), run_of(copied, "vanilla")
    store.clear_result(run)
    checkpoints.write(store.folder(run), 7, b"state", {})
    store.begin_attempt(run)
    assert f"waiting: {run}, begun 2 times, goes on at epoch 8" in say("status").out.splitlines()
    assert json.loads(say("status", "--json").out)["tiny"]["attempts"] == {run: 2}
    shown = lines(say("show", run).out)
    assert (shown["state"], shown["attempts"], shown["next_epoch"]) == ("pending", "2", "8")
    scratch = run_of(copied, "scratch")
    store.clear_result(scratch)
    assert f"waiting: {scratch}, begun once, goes on at epoch 1" in say("status").out.splitlines()


def test_status_and_show_name_a_corrupted_run(copied: Any, say: Callable[..., Any]) -> None:
    run = run_of(copied, "vanilla")
    file = copied.results / "runs" / run / "weights.safetensors"
    whole = file.stat().st_size
    file.write_bytes(b"half")
    why = f"weights.safetensors has 4 bytes, expected {whole}"
    assert f"corrupted: {run}: {why}; `kdbench run` trains it again" in say("status").out.splitlines()
    assert json.loads(say("status", "--json").out)["tiny"]["corrupted"] == {run: why}
    assert lines(say("show", run).out)["corrupted"] == f"{why}; `kdbench run` trains it again"
    assert file.exists(), "status only reads"


def test_status_names_a_corrupted_matrix_file_and_timing(copied: Any, say: Callable[..., Any]) -> None:
    path = copied.results / "matrices" / "tiny.json"
    path.write_text('{"name"')
    timing = next((copied.results / "timings").glob("*.json"))
    timing.write_text("")
    said = say("status").out
    assert "results/matrices/tiny.json: corrupted (" in said
    assert f"results/timings/{timing.name}: corrupted; run the matrix again to time the network again" in said
    found = json.loads(say("status", "--json").out)
    assert list(found["tiny"]) == ["error"]
    assert found["tiny"]["error"].endswith("; run the matrix again to rewrite the file")


def test_status_only_reads(copied: Any, say: Callable[..., Any]) -> None:
    def content() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in copied.results.rglob("*")}

    before = content()
    assert say("status").status == 0
    assert say("show", run_of(copied, "vanilla")).status == 0
    assert content() == before


def test_watching_ends_with_ctrl_c(tiny: Any, say: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("kdbench.cli.status.time.sleep", sleep)
    said = say("status", "--watch", "--results", tiny.results)
    assert (said.status, said.err, looks) == (0, "", [2.0, 2.0, 2.0])
    assert "tiny" in said.out


def test_watching_is_for_people(tiny: Any, say: Callable[..., Any]) -> None:
    said = say("status", "--watch", "--json", "--results", tiny.results)
    assert (said.status, said.error) == (1, "--watch is for people and --json for programs; choose one")


def test_status_imports_no_torch_and_no_pandas(tiny: Any, modules_after: Callable[..., set[str]]) -> None:
    assert not modules_after("status", "--results", tiny.results) & {"torch", "pandas", "optuna"}


def test_status_of_a_folder_without_matrices(say: Callable[..., Any], tmp_path: Path) -> None:
    Store(tmp_path / "results")
    assert say("status").out == "results: no matrix was run here yet\n"
    assert json.loads(say("status", "--json").out) == {}


def test_status_makes_no_folder(say: Callable[..., Any], tmp_path: Path) -> None:
    said = say("status", "--results", "nowhere")
    assert said.status == 1
    assert said.error == "nowhere: results folder not found; `kdbench run MATRIX` creates it"
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
    assert say("show", first[:8]).error == f"{first[:8]}: 2 runs start with this; give more digits"


def test_show_tells_the_error_of_a_failed_run(copied: Any, say: Callable[..., Any]) -> None:
    run = run_of(copied, "vanilla")
    Store(copied.results).write_result(run, {"status": "failed", "error": "[red]loss is NaN[/red]", "row": {}})
    shown = lines(say("show", run).out)
    assert (shown["state"], shown["error"]) == ("failed", "[red]loss is NaN[/red]")


def test_show_of_a_corrupted_run_names_the_file(copied: Any, say: Callable[..., Any]) -> None:
    run = run_of(copied, "vanilla")
    (copied.results / "runs" / run / "spec.json").write_text('{"dataset": 3}')
    said = say("show", run)
    assert said.status == 1
    assert f"{run}/spec.json: corrupted" in said.error


@pytest.mark.parametrize("network", ["ensemble", "peer1"])
def test_show_tells_of_further_graduates(copied: Any, say: Callable[..., Any], network: str) -> None:
    store, run = Store(copied.results), run_of(copied, "vanilla")
    store.write_result(run, {**(store.result(run) or {}), "deployed": {network: {"test_accuracy": 0.123456789}}})
    assert re.search(rf"^{network}: test_accuracy +0\.12346 *$", say("show", run).out, re.MULTILINE)
