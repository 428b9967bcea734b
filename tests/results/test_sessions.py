"""The sessions of a results folder."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from forged import with_checksum

from kdbench.results import Store, leftovers, sessions
from kdbench.results.merge import merge
from kdbench.results.processes import pid_space
from kdbench.results.sessions import (
    MAX_AGE,
    Session,
    WorkerActivity,
    corrupted_sessions,
    read_session,
    read_sessions,
    write_session,
)


def make(**changes: Any) -> Session:
    """A session of this process that is running."""
    now = datetime.now(UTC)
    values = {"matrix": "m", "host": "a", "pid": os.getpid(), "pid_space": pid_space(), "started": now, "updated": now}
    return Session(**{**values, "wall_seconds": 10.0, "busy_seconds": 15.0, "slots": 2, "epochs": {"r": 3}, **changes})


def ago(seconds: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def test_a_session_is_read_as_it_was_written(tmp_path: Path) -> None:
    workers = (WorkerActivity(1, "idle", 3.0), WorkerActivity(2, "training", 2.0, "task", ("r",), 3, 9, 1.0, 0.5, 0.9))
    session = make(done=("r",), failed=("s",), seconds_left=5.0, workers=workers)
    write_session(tmp_path / "one.json", session)
    assert read_session(tmp_path / "one.json") == session


def test_sessions_are_read_by_matrix_in_the_order_of_their_starts(tmp_path: Path) -> None:
    for name, matrix, age in (("a", "m", 10), ("b", "m", 20), ("c", "other", 30)):
        write_session(tmp_path / f"{name}.json", make(matrix=matrix, started=ago(age)))
    assert len(read_sessions(tmp_path, "m")) == 2
    assert [one.started for one in read_sessions(tmp_path)] == sorted(one.started for one in read_sessions(tmp_path))
    assert [one.matrix for one in read_sessions(tmp_path)] == ["other", "m", "m"]


def test_a_folder_without_sessions(tmp_path: Path) -> None:
    assert read_sessions(tmp_path / "missing") == []


@pytest.mark.parametrize(
    ("changes", "is_running"),
    [
        ({}, True),
        ({"has_ended": True}, False),
        ({"updated": ago(MAX_AGE + 9000)}, False),
        ({"updated": ago(-MAX_AGE - 9000)}, False),
        ({"host": "b", "pid_space": "another machine", "pid": 10**9}, True),
        ({"host": "b", "pid_space": "", "pid": 10**9}, True),
    ],
    ids=["now", "ended", "not updated", "in the future", "elsewhere", "unknown"],
)
def test_a_command_runs_while_it_updates_its_session(changes: dict[str, Any], is_running: bool) -> None:
    assert make(**changes).is_running is is_running


@pytest.mark.skipif(not pid_space(), reason="needs Linux")
def test_a_command_whose_process_is_gone_does_not_run() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert not make(pid=process.pid).is_running


def test_durations_are_counted_on_from_the_last_update() -> None:
    workers = (WorkerActivity(1, "idle", 3.0), WorkerActivity(2, "training", 2.0, seconds_left=4.0))
    session = make(updated=ago(10), seconds_left=60.0, workers=workers).as_of_now()
    assert session.wall_seconds == pytest.approx(20, abs=1)
    assert session.seconds_left == pytest.approx(50, abs=1)
    assert [worker.seconds for worker in session.workers] == [pytest.approx(13, abs=1), pytest.approx(12, abs=1)]
    assert session.workers[1].seconds_left == 0


BROKEN = {
    "empty": "",
    "cut": '{"matrix": "m',
    "list": "[]",
    "incomplete": '{"matrix": "m"}',
    "infinite": {"wall_seconds": 1e999},
    "negative": {"busy_seconds": -1.0},
    "text": {"slots": "many"},
    "time": {"started": "yesterday"},
    "no time zone": {"updated": "2026-01-01T00:00:00"},
    "huge": {"wall_seconds": 10**400},
    "not Unicode": {"host": "\ud800"},
    "worker": {"workers": [{"worker": 0, "state": "dancing"}]},
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_corrupted_session_is_skipped_and_named_in_one_line(store: Store, content: str | dict[str, Any]) -> None:
    write_session(store.sessions / "good.json", make())
    text = (store.sessions / "good.json").read_text()
    text = content if isinstance(content, str) else json.dumps({**json.loads(text), **content})
    (store.sessions / "bad.json").write_bytes(with_checksum(text))
    assert [session.matrix for session in read_sessions(store.sessions)] == ["m"]
    (line,) = corrupted_sessions(store.sessions)
    assert line.startswith(f"{store.sessions / 'bad.json'}: corrupted (")
    assert line.endswith("; left out of the wall time in reports; delete the file")
    assert "\n" not in line


def test_merging_copies_ended_sessions_that_the_target_lacks(store: Store, tmp_path: Path) -> None:
    source = Store(tmp_path / "source")
    ended = make(has_ended=True)
    for name, session in {"ended": ended, "known": ended, "running": make()}.items():
        write_session(source.sessions / f"{name}.json", session)
    (source.sessions / "corrupted.json").write_text("{")
    write_session(store.sessions / "known.json", replace(ended, slots=7))
    assert merge(store, source).sessions == ["ended"]
    assert sorted(path.stem for path in store.sessions.iterdir()) == ["ended", "known"]
    assert read_session(store.sessions / "known.json").slots == 7
    assert merge(store, source).sessions == []


def test_sessions_are_kept_by_clean_unless_nothing_was_trained(store: Store) -> None:
    kept = {"ended": {"has_ended": True}, "running": {"epochs": {}}, "killed": {"updated": ago(1000)}}
    for name, changes in {**kept, "unused": {"updated": ago(1000), "epochs": {}}}.items():
        write_session(store.sessions / f"{name}.json", make(**changes))
    (found,) = leftovers.find(store)
    assert (found.path.stem, found.kind) == ("unused", "state of a command that was killed before it trained")
    assert leftovers.remove(store, found)
    assert {path.stem for path in store.sessions.iterdir()} == set(kept)


def test_partial_files_of_dead_commands_are_leftovers(store: Store) -> None:
    store.sessions.mkdir()
    partial = store.sessions / f".one.json.{2**30}.tmp"
    partial.write_text("{")
    os.utime(partial, (0, 0))
    assert [found.path for found in leftovers.find(store)] == [partial]


def test_an_interval_fits_several_times_into_the_age_of_a_dead_command() -> None:
    assert 5 * sessions.INTERVAL <= MAX_AGE
