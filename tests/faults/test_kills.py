"""Processes that are killed or asked to stop at any moment: the same command finishes with the same numbers."""

import os
import random
import signal
import time
from contextlib import suppress
from typing import Any

import pytest


def a_while(moments: random.Random, undisturbed: Any) -> None:
    """Some moment of a cohort's training, or between two."""
    time.sleep(moments.uniform(0, 0.03) * undisturbed.seconds)


def leads(pid: int) -> bool:
    """Whether a process is a worker, and no child of one."""
    try:
        return os.getpgid(pid) == pid
    except ProcessLookupError:
        return False


@pytest.mark.parametrize("moment", ["one", "another"])
def test_a_worker_that_is_killed_costs_no_run(
    bench: Any, undisturbed: Any, moments: random.Random, moment: str, record_property: Any
) -> None:
    process, began = bench.start(), time.monotonic()
    bench.until(bench.checkpoints)
    a_while(moments, undisturbed)
    os.kill(moments.choice([pid for pid in bench.workers() if leads(pid)]), signal.SIGKILL)
    record_property("injected", 1)
    ran = bench.ended(process, began)
    assert ran.status == 0, ran.said
    bench.numbers().check_same(undisturbed.numbers)
    assert max(bench.attempts().values()) <= 2


def test_a_coordinator_or_the_machine_that_goes_down_again_and_again(
    bench: Any, undisturbed: Any, moments: random.Random, times: int, record_property: Any
) -> None:
    """In turn the coordinator alone and all processes; each time after some epochs more have been saved."""
    done: dict[str, int] = {}
    kills = 0
    for number in range(times):
        before = bench.progress()
        process, began = bench.start(), time.monotonic()
        bench.until(lambda going=process, old=before: bench.progress() - old or going.poll() is not None)
        a_while(moments, undisturbed)
        kills += process.poll() is None
        for pid in [process.pid, *(bench.workers() if number % 2 else [])]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        bench.ended(process, began)
        bench.until(lambda: not bench.workers(), seconds=10)
        attempts = bench.attempts()
        assert {run: attempts[run] for run in done} == done  # what was done is not begun again
        done = {run: attempts[run] for run in bench.done()}
    record_property("injected", kills)
    assert kills == times, "the matrix had ended before"
    ran = bench.run()
    assert ran.status == 0, ran.said
    bench.numbers().check_same(undisturbed.numbers)


def test_an_interrupt_stops_all_in_time_and_the_same_command_goes_on(bench: Any, undisturbed: Any) -> None:
    for signals, seconds in [([signal.SIGINT], 10), ([signal.SIGTERM], 10), ([signal.SIGINT, signal.SIGTERM], 3)]:
        process = bench.start()
        bench.until(bench.workers)
        bench.until(lambda: bench.checkpoints() or bench.done())
        asked = time.monotonic()
        for number in signals:
            os.kill(process.pid, number)
            time.sleep(0.2)
        stopped = bench.ended(process, asked, timeout=30)
        assert stopped.status == 130, stopped.said
        assert stopped.seconds < seconds
        assert "run the same command again" in stopped.said
        assert "Traceback" not in stopped.said
        bench.until(lambda: not bench.workers(), seconds=1)
    again = bench.run()
    assert again.status == 0, again.said
    bench.numbers().check_same(undisturbed.numbers)


def test_two_commands_at_once_train_every_run_once(bench: Any, undisturbed: Any) -> None:
    began = time.monotonic()
    both = [bench.start(), bench.start()]
    for ran in [bench.ended(process, began) for process in both]:
        assert ran.status == 0, ran.said
    assert set(bench.attempts().values()) == {1}
    bench.numbers().check_same(undisturbed.numbers)
