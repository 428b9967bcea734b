"""The record of a command in the results folder."""

import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import kdbench.sessions.recorder as module
from kdbench.events import CohortStarted, EpochEnded, Event, JobStarted, RunDone, RunFailed, SlotsCounted, TimeLeft
from kdbench.results import Store
from kdbench.results.sessions import Session, read_sessions
from kdbench.sessions import SessionRecorder

TRAINED = (CohortStarted(1, 2, ("a", "b")), JobStarted(1), EpochEnded(("a", "b"), 1, 2, 0.5, None, 9.0))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


@pytest.fixture
def plan() -> Any:
    return SimpleNamespace(matrix=SimpleNamespace(name="m"), runs=())


def ignore(event: Event) -> None:
    pass


def handle(recorder: SessionRecorder, plan: Any, *events: Event) -> None:
    on_event = recorder.observe(plan, ignore)
    for event in events:
        on_event(event)


def test_the_record_has_what_was_trained(store: Store, plan: Any) -> None:
    with SessionRecorder(store, "m") as recorder:
        handle(recorder, plan, SlotsCounted(2), *TRAINED, RunDone("a"), RunFailed("b", "NaN"))
    (session,) = read_sessions(store.sessions)
    assert session == recorder.session() or session.updated < recorder.session().updated
    assert (session.matrix, session.slots, session.epochs) == ("m", 2, {"a": 1, "b": 1})
    assert (session.done, session.failed) == (("a",), ("b",))
    assert (session.has_ended, session.is_interrupted, session.is_running) == (True, False, False)
    assert 0 < session.busy_seconds <= session.wall_seconds
    assert session.workers == ()


def test_events_are_recorded_before_they_are_handled(store: Store, plan: Any) -> None:
    seen = []
    with SessionRecorder(store, "m") as recorder:
        on_event = recorder.observe(plan, lambda event: seen.append((event, recorder.activity.done)))
        on_event(RunDone("a"))
    assert seen == [(RunDone("a"), ("a",))]


def test_an_interrupted_command_is_recorded_as_such(store: Store, plan: Any) -> None:
    def train() -> None:
        with SessionRecorder(store, "m") as recorder:
            handle(recorder, plan, *TRAINED)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train()
    (session,) = read_sessions(store.sessions)
    assert (session.has_ended, session.is_interrupted) == (True, True)


def test_a_command_that_trains_nothing_leaves_no_file(store: Store, plan: Any) -> None:
    with SessionRecorder(store, "m") as recorder:
        handle(recorder, plan, SlotsCounted(2), TimeLeft(0.0))
    assert list(store.sessions.iterdir()) == []


def test_the_file_is_rewritten_while_the_command_runs(store: Store, plan: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERVAL", 0.01)
    written = threading.Event()
    write: Callable[[Path, Session], None] = module.write_session

    def write_and_signal(path: Path, session: Session) -> None:
        write(path, session)
        if session.epochs:
            written.set()

    monkeypatch.setattr(module, "write_session", write_and_signal)
    with SessionRecorder(store, "m") as recorder:
        handle(recorder, plan, SlotsCounted(2), *TRAINED, TimeLeft(100.0))
        assert written.wait(30)
        (session,) = read_sessions(store.sessions)
        assert (session.is_running, session.has_ended) == (True, False)
        assert [(one.worker, one.state, one.epoch) for one in session.workers] == [
            (1, "idle", None),
            (2, "training", 1),
        ]
        assert 0 < (session.seconds_left or 0) <= 100
    assert [session.has_ended for session in read_sessions(store.sessions)] == [True]
    assert len(list(store.sessions.iterdir())) == 1, "no partial file is left"


def test_commands_on_one_folder_have_a_file_each(store: Store, plan: Any) -> None:
    with SessionRecorder(store, "m") as first, SessionRecorder(store, "m") as second:
        for recorder in (first, second):
            handle(recorder, plan, *TRAINED)
    assert len(read_sessions(store.sessions)) == 2


def test_a_folder_that_cannot_be_written_to_does_not_stop_the_training(store: Store, plan: Any) -> None:
    store.sessions.write_text("a file in the place of the folder")
    with SessionRecorder(store, "m") as recorder:
        handle(recorder, plan, *TRAINED)
    assert recorder.session().epochs == {"a": 1, "b": 1}
