"""`logs`: the log of a run, and what its worker prints now."""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kdbench.matrix import DataSpec, NetworkSpec, Part, RunSpec, Split
from kdbench.matrix.recipe import Recipe
from kdbench.results import Store, worker_logs

SPEC = RunSpec(
    DataSpec("digits", "digits", {}, "f00d"), NetworkSpec("mlp_8"), (Part("scratch"),), Recipe(), Split(), seed=0
)


@dataclass
class Logged:
    """A run that has started, and its worker's log."""

    store: Store
    worker: Path

    def prints(self, text: str) -> None:
        with self.worker.open("a") as handle:
            handle.write(text)


@pytest.fixture
def logged(tmp_path: Path) -> Logged:
    store = Store(tmp_path / "results")
    store.write_spec(SPEC)
    worker = store.root / "workers" / "host-1-1.log"
    worker.parent.mkdir()
    worker.write_text("of another run\n")
    store.begin_attempt(SPEC.id)
    worker_logs.log_start(store, [SPEC.id], worker, worker_logs.size(worker))
    return Logged(store, worker)


def test_an_empty_log(tmp_path: Path, invoke: Callable[..., Any]) -> None:
    Store(tmp_path / "results").write_spec(SPEC)
    assert invoke("logs", SPEC.id[:8]).out == f"{SPEC.id}: the log is empty\n"


def test_an_unknown_run(tmp_path: Path, invoke: Callable[..., Any]) -> None:
    Store(tmp_path / "results")
    assert invoke("logs", "0123").error.startswith("0123: no such run in results; ")


@pytest.mark.parametrize("option", [[], ["-f"]])
def test_the_log_of_a_run_that_is_not_running(logged: Logged, invoke: Callable[..., Any], option: list[str]) -> None:
    logged.prints("never shown\n")
    logged.store.log(SPEC.id, "done after 2 epochs")
    first, last = invoke("logs", SPEC.id, *option).out.splitlines()
    assert first.endswith(f" attempt 1: {logged.worker} from byte 15")
    assert last.endswith(" done after 2 epochs")


def test_a_running_run_shows_what_its_worker_printed_for_it(logged: Logged, invoke: Callable[..., Any]) -> None:
    logged.prints("[b]epoch 1\nepoch 2\n")
    with logged.store.claimed(SPEC.id):
        shown = invoke("logs", SPEC.id).out.splitlines()
    assert shown[1:] == ["[b]epoch 1", "epoch 2"]


def test_follow_prints_until_the_run_ends(
    logged: Logged, invoke: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = logged.store.claim(SPEC.id)
    assert lock is not None
    steps = iter([lambda: logged.prints("epoch 1\nepo"), lambda: logged.prints("ch 2\n")])

    def sleep(seconds: float) -> None:
        step = next(steps, None)
        if step is not None:
            step()
        else:
            logged.prints("last line\n")
            lock.release()

    monkeypatch.setattr("kdbench.cli.logs.time.sleep", sleep)
    shown = invoke("logs", SPEC.id, "-f").out.splitlines()
    assert shown[1:] == ["epoch 1", "epoch 2", "last line"]


@pytest.mark.slow
def test_follow_ends_when_its_reader_exits(logged: Logged) -> None:
    follow = f"{shlex.quote(sys.executable)} -m kdbench logs {SPEC.id} -f | head -1; exit ${{PIPESTATUS[0]}}"
    with logged.store.claimed(SPEC.id), subprocess.Popen(["bash", "-c", follow], stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            logged.prints("epoch\n")
            time.sleep(0.1)
        process.kill()
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_follow_prints_the_outcome(logged: Logged, invoke: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    lock = logged.store.claim(SPEC.id)
    assert lock is not None

    def sleep(seconds: float) -> None:
        logged.prints("epoch 1\n")
        logged.store.log(SPEC.id, "ValueError: no such layer")
        lock.release()

    monkeypatch.setattr("kdbench.cli.logs.time.sleep", sleep)
    shown = invoke("logs", SPEC.id, "-f").out.splitlines()
    assert len(shown) == 3
    assert shown[1] == "epoch 1"
    assert shown[2].endswith(" ValueError: no such layer")


def test_follow_prints_the_last_attempt(logged: Logged, invoke: Callable[..., Any]) -> None:
    newer = logged.worker.with_name("host-2-1.log")
    newer.write_text("second\n")
    logged.prints("first\n")
    worker_logs.log_start(logged.store, [SPEC.id], newer, 0)
    with logged.store.claimed(SPEC.id):
        assert invoke("logs", SPEC.id).out.splitlines()[2:] == ["second"]


def test_control_characters_are_printed_as_codes(logged: Logged, invoke: Callable[..., Any]) -> None:
    logged.prints("a\x1b[31mred\r\n\tend\n")
    with logged.store.claimed(SPEC.id):
        shown = invoke("logs", SPEC.id).out.splitlines()
    assert shown[1:] == [r"a\x1b[31mred", "        end"]


def test_a_moved_results_folder_works(logged: Logged, invoke: Callable[..., Any]) -> None:
    logged.prints("here\n")
    moved = logged.store.root.rename(logged.store.root.with_name("moved"))
    with Store(moved).claimed(SPEC.id):
        assert invoke("logs", SPEC.id, "--results", moved).out.splitlines()[1:] == ["here"]


def test_of_a_large_log_the_end_is_printed(logged: Logged, invoke: Callable[..., Any]) -> None:
    log = logged.store.folder(SPEC.id) / "log.txt"
    with log.open("wb") as file:
        file.truncate(10**10)
        file.seek(0, os.SEEK_END)
        file.write(b"\nthe end\n")
    shown = invoke("logs", SPEC.id).out.splitlines()
    assert shown[0] == f"({10**10 + 9 - 2**22} earlier bytes are in results/runs/{SPEC.id}/log.txt)"
    assert shown[-1] == "the end"


@pytest.mark.parametrize("name", ["/etc/hostname", "\0.log", "../../secret.log"])
def test_only_logs_of_workers_are_printed(logged: Logged, invoke: Callable[..., Any], name: str) -> None:
    (logged.store.root.parent / "secret.log").write_text("secret\n")
    logged.store.log(SPEC.id, f"attempt 2: {name} from byte 0")
    with logged.store.claimed(SPEC.id):
        shown = invoke("logs", SPEC.id)
    assert shown.status == 0
    assert "secret\n" not in shown.out


def test_a_fifo_in_place_of_a_log_is_named(logged: Logged, invoke: Callable[..., Any]) -> None:
    log = logged.store.folder(SPEC.id) / "log.txt"
    log.unlink()
    os.mkfifo(log)
    assert invoke("logs", SPEC.id).error.startswith(
        f"results/runs/{SPEC.id}/log.txt: corrupted (is a FIFO, not a regular file)"
    )
