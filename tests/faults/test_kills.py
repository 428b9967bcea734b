"""Processes that are killed or interrupted at random times: rerunning the command gives the same numbers."""

import os
import random
import signal
import time
from contextlib import suppress
from typing import Any

import pytest

pytestmark = pytest.mark.slow


def sleep_randomly(rng: random.Random, reference: Any) -> None:
    """Sleep until a random time during or between cohorts."""
    time.sleep(rng.uniform(0, 0.03) * reference.seconds)


def is_worker(pid: int) -> bool:
    """Return whether a process leads its group: a worker, not its watchdog."""
    try:
        return os.getpgid(pid) == pid
    except ProcessLookupError:
        return False


@pytest.mark.parametrize("repetition", [1, 2])
def test_a_killed_worker_costs_no_run(
    sandbox: Any, reference: Any, rng: random.Random, repetition: int, record_property: Any
) -> None:
    process, start = sandbox.start(), time.monotonic()
    sandbox.wait_until(sandbox.checkpoints)
    sleep_randomly(rng, reference)
    os.kill(rng.choice([pid for pid in sandbox.worker_pids() if is_worker(pid)]), signal.SIGKILL)
    record_property("injected", 1)
    completed = sandbox.wait(process, start)
    assert completed.status == 0, completed.output
    sandbox.numbers().check_same(reference.numbers)
    assert max(sandbox.attempts().values()) <= 2


def test_killing_the_command_or_all_processes_repeatedly_loses_nothing(
    sandbox: Any, reference: Any, rng: random.Random, repetitions: int, record_property: Any
) -> None:
    """Kill the command alone and all processes in turn, each time after new checkpoints."""
    done: dict[str, int] = {}
    kills = 0
    for number in range(repetitions):
        before = sandbox.progress()
        process, start = sandbox.start(), time.monotonic()
        sandbox.wait_until(
            lambda process=process, before=before: sandbox.progress() - before or process.poll() is not None
        )
        sleep_randomly(rng, reference)
        kills += process.poll() is None
        for pid in [process.pid, *(sandbox.worker_pids() if number % 2 else [])]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        sandbox.wait(process, start)
        sandbox.wait_until(lambda: not sandbox.worker_pids(), seconds=10)
        attempts = sandbox.attempts()
        assert {run: attempts[run] for run in done} == done  # finished runs are not started again
        done = {run: attempts[run] for run in sandbox.done_runs()}
    record_property("injected", kills)
    assert kills == repetitions, "the matrix finished too early"
    completed = sandbox.run()
    assert completed.status == 0, completed.output
    sandbox.numbers().check_same(reference.numbers)


def test_an_interrupt_stops_all_processes_and_rerunning_finishes(sandbox: Any, reference: Any) -> None:
    for signals, seconds in [([signal.SIGINT], 10), ([signal.SIGTERM], 10), ([signal.SIGINT, signal.SIGTERM], 6)]:
        before = sandbox.attempts()
        process = sandbox.start()
        sandbox.wait_until(lambda before=before: sandbox.attempts() != before)
        sandbox.wait_until(lambda: sandbox.checkpoints() or sandbox.done_runs())
        interrupted_at = time.monotonic()
        for number in signals:
            os.kill(process.pid, number)
            time.sleep(0.2)
        stopped = sandbox.wait(process, interrupted_at, timeout=30)
        assert stopped.status == 130, stopped.output
        assert stopped.seconds < seconds
        assert "stopped; " in stopped.output
        assert "Traceback" not in stopped.output
        sandbox.wait_until(lambda: not sandbox.worker_pids(), seconds=1)
    again = sandbox.run()
    assert again.status == 0, again.output
    sandbox.numbers().check_same(reference.numbers)


def test_two_simultaneous_commands_train_each_run_once(sandbox: Any, reference: Any) -> None:
    start = time.monotonic()
    both = [sandbox.start(), sandbox.start()]
    for completed in [sandbox.wait(process, start) for process in both]:
        assert completed.status == 0, completed.output
    assert set(sandbox.attempts().values()) == {1}
    sandbox.numbers().check_same(reference.numbers)
