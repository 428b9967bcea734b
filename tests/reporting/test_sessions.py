"""The wall time, the busy share and the time of one run after the other, from the sessions of a matrix."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from kdbench.reporting import make_report
from kdbench.reporting.sessions import describe_matrix_sessions, describe_sessions, done_rows
from kdbench.results import Store
from kdbench.results.sessions import Session, write_session

START = datetime(2026, 1, 1, tzinfo=UTC)


def session(start: float = 0.0, **changes: Any) -> Session:
    """A session of 100 seconds on 2 slots that trained all 10 epochs of the runs a and b."""
    times = {
        "started": START + timedelta(seconds=start),
        "updated": START,
        "wall_seconds": 100.0,
        "busy_seconds": 150.0,
    }
    trained = {"epochs": {"a": 10, "b": 10}, "done": ("a", "b"), "has_ended": True}
    return Session(**{"matrix": "m", "host": "h", "pid": 1, "pid_space": "", "slots": 2, **times, **trained, **changes})


def rows(*runs: str, seconds: float = 300.0, host: str = "h") -> dict[str, dict[str, Any]]:
    return {run: {"train_seconds": seconds, "epochs_run": 10, "host": host} for run in runs}


def test_one_session() -> None:
    expected = "2 runs in 1 min 40 s on 2 workers, 75 % busy; one at a time without sharing: about 10 min 00 s"
    assert describe_sessions([session()], rows("a", "b"), ["a", "b"]) == expected


def test_one_run_and_one_worker_are_singular() -> None:
    text = describe_sessions([session(slots=1, epochs={"a": 10}, done=("a",))], rows("a"), ["a"])
    assert text.startswith("1 run in 1 min 40 s on 1 worker, ")


def test_runs_of_other_commands_are_counted_apart_and_not_in_the_time() -> None:
    text = describe_sessions([session()], rows("a", "b", "c", "d"), ["a", "b", "c", "d", "pending"])
    assert text.endswith("; one at a time without sharing: about 10 min 00 s; 2 other runs trained by other commands")


def test_of_a_resumed_run_only_the_epochs_of_the_session_count() -> None:
    text = describe_sessions([session(epochs={"a": 10, "b": 2})], rows("a", "b"), ["a", "b"])
    assert text.endswith("about 6 min 00 s")


def test_two_sessions_that_shared_a_run_count_it_once() -> None:
    first = session(epochs={"a": 7}, done=(), is_interrupted=True)
    text = describe_sessions([first, session(1000, epochs={"a": 5}, done=("a",))], rows("a"), ["a"])
    assert text == (
        "1 run in 3 min 20 s (2 commands, 1 interrupted) on 2 workers, 75 % busy; "
        "one at a time without sharing: about 5 min 00 s"
    )


@pytest.mark.parametrize(("start", "wall"), [(1000, "3 min 20 s"), (60, "2 min 40 s"), (0, "1 min 40 s")])
def test_time_in_which_two_commands_ran_counts_once(start: float, wall: str) -> None:
    text = describe_sessions([session(start, host="other"), session()], rows("a", "b"), ["a", "b"])
    assert text.startswith(f"2 runs in {wall} (2 commands) on 2 machines with 2 workers, 75 % busy; ")


def test_different_numbers_of_workers_are_a_range_and_weigh_in_the_busy_share() -> None:
    text = describe_sessions([session(), session(200, slots=8, busy_seconds=800.0)], rows("a", "b"), ["a", "b"])
    assert " on 2 to 8 workers, 95 % busy; " in text


def test_failed_and_unfinished_runs_are_named_and_have_no_time() -> None:
    epochs = {"a": 10, "b": 4, "c": 3}
    text = describe_sessions([session(epochs=epochs, done=("a",), failed=("b",))], rows("a"), ["a", "b", "c"])
    assert text == (
        "2 runs (1 failed) in 1 min 40 s on 2 workers, 75 % busy; one at a time without sharing: about 5 min 00 s "
        "(without 2 runs that failed or did not finish)"
    )


def test_a_run_that_failed_first_and_is_done_now_has_not_failed() -> None:
    first = session(done=(), failed=("a",), epochs={"a": 10})
    text = describe_sessions([first, session(1000, epochs={"a": 10}, done=("a",))], rows("a"), ["a"])
    assert text.startswith("1 run in ")


def test_a_session_in_which_nothing_finished_has_no_time_of_one_at_a_time() -> None:
    text = describe_sessions([session(done=(), is_interrupted=True)], {}, ["a", "b"])
    assert text == "0 runs in 1 min 40 s (interrupted) on 2 workers, 75 % busy"


def test_commands_that_were_killed_or_still_run_are_named() -> None:
    killed = session(has_ended=False)
    assert " (killed) on " in describe_sessions([killed], rows("a"), ["a"])
    running = session(500, has_ended=False, updated=datetime.now(UTC))
    assert " (2 commands, 1 killed, 1 still running) on " in describe_sessions([killed, running], rows("a"), ["a"])


def test_rows_of_several_machines_are_named() -> None:
    text = describe_sessions([session()], rows("a") | rows("b", host="other"), ["a", "b"])
    assert text.endswith("about 10 min 00 s, measured on 2 machines")


def test_a_run_without_epochs_counts_in_full() -> None:
    measured = {"a": {"train_seconds": 30.0, "epochs_run": 0, "host": "h"}}
    assert describe_sessions([session(epochs={}, done=("a",))], measured, ["a"]).endswith("about 30 s")


@pytest.mark.parametrize("seconds", [None, "many", float("nan"), float("inf"), -1.0, [1]])
def test_seconds_that_are_no_number_are_unknown(seconds: object) -> None:
    measured = rows("a", "b")
    measured["b"]["train_seconds"] = seconds
    text = describe_sessions([session()], measured, ["a", "b"])
    assert text.endswith("about 5 min 00 s (without 1 run that failed or did not finish)")


def test_the_busy_share_is_at_most_100_percent_and_0_without_time() -> None:
    assert ", 100 % busy" in describe_sessions([session(busy_seconds=1e6)], {}, [])
    assert ", 0 % busy" in describe_sessions([session(wall_seconds=0.0)], {}, [])


def test_the_head_of_a_report_adds_up_the_sessions_of_its_matrix(tmp_path: Path, builder: Any) -> None:
    cell = builder.add("scratch", [0.5, 0.6], kind="scratch", train_seconds=300.0, epochs_run=10, host="h")
    first, second = cell.runs.values()
    for name, start, run in (("one", 0, first), ("two", 500, second)):
        write_session(tmp_path / f"{name}.json", session(start, matrix="thesis", epochs={run: 10}, done=(run,)))
    write_session(tmp_path / "other.json", session(2000, matrix="other"))
    write_session(tmp_path / "unused.json", session(3000, matrix="thesis", epochs={}, done=()))
    text = describe_matrix_sessions(tmp_path, builder.index, builder.frame)
    expected = (
        "2 runs in 3 min 20 s (2 commands) on 2 workers, 75 % busy; one at a time without sharing: about 10 min 00 s"
    )
    assert text == expected
    summary = make_report(builder.index, builder.frame, sessions=text).summary
    assert f"- runs: 2 done, 0 failed, 0 running, 0 pending\n- training: {expected}\n" in summary


def test_a_matrix_without_sessions_has_no_such_line(tmp_path: Path, builder: Any) -> None:
    builder.add("scratch", [0.5], kind="scratch")
    assert describe_matrix_sessions(tmp_path / "sessions", builder.index, builder.frame) == ""
    assert "- training:" not in make_report(builder.index, builder.frame).summary


def test_results_without_any_finished_run(tmp_path: Path, builder: Any) -> None:
    write_session(tmp_path / "one.json", session(matrix="thesis"))
    frame = pd.DataFrame({"run_id": ["a"], "status": ["pending"]})
    assert describe_matrix_sessions(tmp_path, builder.index, frame).startswith("2 runs in ")


def test_only_runs_that_are_done_have_a_row(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write_result("a", {"status": "done", "row": {"train_seconds": 1.0}})
    store.write_result("b", {"status": "failed", "row": {"train_seconds": 1.0}})
    store.write_result("c", {"status": "done"})
    assert done_rows(store, ["a", "b", "c", "missing"]) == {"a": {"train_seconds": 1.0}, "c": {}}
