"""`retry`."""

from collections.abc import Callable
from typing import Any

from kdbench.results import Store


def test_failures_are_cleared_and_logs_are_kept(copied: Any, invoke: Callable[..., Any]) -> None:
    store, run, done = Store(copied.results), copied.run_of("vanilla"), copied.run_of("scratch")
    store.write_result(run, {"status": "failed", "error": "loss is NaN\nin epoch 3"})
    before = (store.folder(run) / "log.txt").read_text()
    result = invoke("retry")
    assert result.status == 0
    assert result.out.splitlines() == [
        f"cleared the failure of {run}; queued again",
        "to train 1 run: kdbench run tiny.toml",
    ]
    assert (store.state(run), store.state(done)) == ("pending", "done")
    after = (store.folder(run) / "log.txt").read_text()
    assert after.startswith(before)
    assert after.endswith("cleared this failure; queued again: loss is NaN\n")
    assert invoke("retry").out == "no failed runs\n"


def test_the_printed_command_names_another_results_folder(copied: Any, invoke: Callable[..., Any]) -> None:
    Store(copied.results).write_result(copied.run_of("vanilla"), {"status": "failed"})
    copied.results.rename(copied.folder / "my results")
    out = invoke("retry", "--results", "my results").out
    assert out.endswith("to train 1 run: kdbench run tiny.toml --results 'my results'\n")


def test_failures_of_one_matrix_are_cleared(copied: Any, invoke: Callable[..., Any]) -> None:
    store, run, other = Store(copied.results), copied.run_of("vanilla"), "0123456789abcdef"
    for failed in (run, other):
        store.write_result(failed, {"status": "failed", "error": "NaN"})
    assert invoke("retry", "tiny").status == 0
    assert (store.state(run), store.state(other)) == ("pending", "failed")


def test_an_unknown_matrix_is_an_error(copied: Any, invoke: Callable[..., Any]) -> None:
    result = invoke("retry", "tinny")
    assert (result.status, result.error) == (1, "no matrix 'tinny' in 'results'; did you mean 'tiny'?")
    (copied.results / "matrices" / "tiny.json").write_text("{")
    assert invoke("retry", "tiny").error.startswith("results/matrices/tiny.json: corrupted (")


def test_a_failure_whose_lock_is_held_by_another_process_stays(copied: Any, invoke: Callable[..., Any]) -> None:
    store, run = Store(copied.results), copied.run_of("vanilla")
    store.write_result(run, {"status": "failed", "error": "NaN"})
    with store.claimed(run):
        assert invoke("retry").out == "no failed runs\n"
    assert store.state(run) == "failed"


def test_json_lists_the_runs_and_the_commands(copied: Any, invoke: Callable[..., Any]) -> None:
    run = copied.run_of("vanilla")
    Store(copied.results).write_result(run, {"status": "failed", "error": "NaN"})
    assert invoke("retry", "--json").json == {"queued": [run], "commands": ["kdbench run tiny.toml"]}
    assert invoke("retry", "--json").json == {"queued": [], "commands": []}
