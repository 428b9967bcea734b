"""`show`."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from forged import with_checksum

from kdbench.results import Store, checkpoints


def lines(text: str) -> dict[str, str]:
    """The rows of `show`: key -> value."""
    pairs = [line.split(maxsplit=1) for line in text.splitlines() if line.strip()]
    return {pair[0]: pair[1].strip() for pair in pairs if len(pair) == 2}


def test_a_run_is_printed(tiny: Any, invoke: Callable[..., Any]) -> None:
    run = tiny.run_of("vanilla")
    result = invoke("show", run, "--results", tiny.results)
    shown = lines(result.out)
    assert result.status == 0
    assert (shown["run"], shown["state"], shown["method"], shown["student"]) == (run, "done", "vanilla", "mlp_16")
    assert (shown["alpha"], shown["temperature"], shown["recipe.epochs"]) == ("0.5", "4", "2")
    assert (shown["label"], shown["matrix"]) == ("vanilla", "tiny")
    assert shown["teacher"] == f"cnn_8_16 (run {tiny.run_of('teacher')})"
    row = (Store(tiny.results).result(run) or {})["row"]
    assert shown["test_accuracy"] == f"{row['test_accuracy']:.5g}"


def test_all_matrices_and_labels_of_a_run_are_printed(copied: Any, invoke: Callable[..., Any]) -> None:
    store, run = Store(copied.results), copied.run_of("vanilla")
    index = store.index("tiny")
    assert index is not None
    cells = [replace(cell, label="kd") for cell in index.cells if cell.label == "vanilla"]
    store.write_index(replace(index, name="wider", cells=tuple(cells)))
    store.write_index(replace(index, name="yes", cells=(), needed=(run,)))
    shown = lines(invoke("show", run).out)
    assert (shown["label"], shown["matrix"]) == ("vanilla, kd", "tiny, wider, yes")
    assert invoke("show", run, "--json").json["matrices"] == {"tiny": ["vanilla"], "wider": ["kd"], "yes": []}


def test_json_holds_spec_and_result(tiny: Any, invoke: Callable[..., Any]) -> None:
    run = tiny.run_of("vanilla")
    found = invoke("show", run, "--results", tiny.results, "--json").json
    store = Store(tiny.results)
    assert (found["run"], found["state"], found["corruption"], found["next_epoch"]) == (run, "done", None, None)
    assert found["spec"] == json.loads(json.dumps(store.spec(run).to_json()))
    assert found["result"] == store.result(run)


def test_a_restarted_run_shows_its_attempts_and_its_next_epoch_counted_from_1(
    copied: Any, invoke: Callable[..., Any]
) -> None:
    store, run = Store(copied.results), copied.run_of("vanilla")
    store.clear_result(run)
    checkpoints.write(store.folder(run), 7, b"state", {})
    store.begin_attempt(run)
    shown = lines(invoke("show", run).out)
    assert (shown["state"], shown["attempts"], shown["next_epoch"]) == ("pending", "2", "8")
    found = invoke("show", run, "--json").json
    assert (found["state"], found["attempts"], found["next_epoch"]) == ("pending", 2, 8)


def test_a_corrupted_run_is_printed(copied: Any, invoke: Callable[..., Any]) -> None:
    run = copied.run_of("vanilla")
    (copied.results / "runs" / run / "weights.safetensors").write_bytes(b"half")
    reason = Store(copied.results).corruption(run)
    assert lines(invoke("show", run).out)["corrupted"] == f"{reason}; `kdbench run` trains it again"
    assert invoke("show", run, "--json").json["corruption"] == reason


def test_nothing_is_written(copied: Any, invoke: Callable[..., Any]) -> None:
    before = {path: path.stat().st_mtime_ns for path in copied.results.rglob("*")}
    assert invoke("show", copied.run_of("vanilla")).status == 0
    assert {path: path.stat().st_mtime_ns for path in copied.results.rglob("*")} == before


def test_zeros_are_printed(copied: Any, invoke: Callable[..., Any]) -> None:
    store, run = Store(copied.results), copied.run_of("vanilla")
    result = store.result(run) or {}
    store.write_result(run, {**result, "row": {**result["row"], "best_epoch": 1, "test_accuracy": 0.0}})
    shown = lines(invoke("show", run).out)
    assert (shown["best_epoch"], shown["test_accuracy"]) == ("1", "0")


def test_a_run_is_found_by_its_first_digits(tiny: Any, invoke: Callable[..., Any]) -> None:
    run = tiny.run_of("scratch")
    prefix = next(
        run[:n] for n in range(1, 17) if sum(r.startswith(run[:n]) for r in Store(tiny.results).run_ids()) == 1
    )
    assert lines(invoke("show", prefix, "--results", tiny.results).out)["run"] == run


def test_an_unknown_run_is_an_error(tiny: Any, invoke: Callable[..., Any]) -> None:
    result = invoke("show", "xyz", "--results", tiny.results)
    assert result.status == 1
    assert result.error.startswith(f"xyz: no such run in {tiny.results}; valid: ")


def test_an_ambiguous_prefix_is_an_error(copied: Any, invoke: Callable[..., Any]) -> None:
    store = Store(copied.results)
    first, *_ = store.run_ids()
    twin = first[:8] + ("0" * 8 if first[8:] != "0" * 8 else "1" * 8)
    (store.folder(twin)).mkdir()
    (store.folder(twin) / "spec.json").write_bytes((store.folder(first) / "spec.json").read_bytes())
    assert invoke("show", first[:8]).error == f"{first[:8]}: 2 runs start with this; give more digits"


def test_the_error_of_a_failed_run_is_printed(copied: Any, invoke: Callable[..., Any]) -> None:
    run = copied.run_of("vanilla")
    Store(copied.results).write_result(run, {"status": "failed", "error": "[red]loss is NaN[/red]", "row": {}})
    shown = lines(invoke("show", run).out)
    assert (shown["state"], shown["error"]) == ("failed", "[red]loss is NaN[/red]")


def test_a_corrupted_spec_is_an_error(copied: Any, invoke: Callable[..., Any]) -> None:
    run = copied.run_of("vanilla")
    (copied.results / "runs" / run / "spec.json").write_bytes(with_checksum('{"dataset": 3}'))
    result = invoke("show", run)
    assert result.status == 1
    assert f"{run}/spec.json: corrupted" in result.error


@pytest.mark.parametrize("network", ["ensemble", "peer1"])
def test_further_deployed_networks_are_printed(copied: Any, invoke: Callable[..., Any], network: str) -> None:
    store, run = Store(copied.results), copied.run_of("vanilla")
    store.write_result(run, {**(store.result(run) or {}), "deployed": {network: {"test_accuracy": 0.123456789}}})
    assert re.search(rf"^{network}: test_accuracy +0\.12346 *$", invoke("show", run).out, re.MULTILINE)
